"""The models of a demo: known by name at once, and loaded while the page is open already."""

from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING

from modeling.checkpoint_faults import check_folder, check_kind
from modeling.checkpoint_names import EMBEDDED_MODEL, model_name

if TYPE_CHECKING:
    from .captioners import Captioner


class Models:
    """One model, or two to compare; the first one does everything else.

    Args:
        models: Checkpoints or adapters, folders or Hub ids.
        trust_remote_code: See `load_captioner`.
    """

    def __init__(self, models: Sequence[str] = (EMBEDDED_MODEL,), *, trust_remote_code: bool = False):
        self._models, self._trust = list(models), trust_remote_code
        self._loading: Future[list[Captioner]] = Future()

    @property
    def names(self) -> list[str]:
        """As the page calls them."""
        return [model_name(model) for model in self._models]

    @property
    def has_embedded_model(self) -> bool:
        """Whether the first one is the demonstration model."""
        return self._models[0] == EMBEDDED_MODEL

    @property
    def are_ready(self) -> bool:
        """Whether `captioners` returns at once."""
        return self._loading.done()

    def check(self) -> None:
        """Look at the files of those that are folders, which takes no time.

        Raises:
            ModelError: If one of them is missing or damaged.
        """
        for folder in filter(Path.is_dir, map(Path, self._models)):
            check_folder(folder)
            if not self._trust:
                check_kind(folder)

    def load(self) -> None:
        """Load them all, once.

        Raises:
            ModelError: If there is no such folder or repository, or it cannot be loaded.
        """
        from .captioners import load  # not above: torch and transformers are most of a start

        try:
            self._loading.set_result([load(model, trust_remote_code=self._trust) for model in self._models])
        except BaseException as error:
            self._loading.set_exception(error)  # nobody must wait for ever
            raise

    def captioners(self) -> "list[Captioner]":
        """All of them; waits until they are loaded."""
        return self._loading.result()
