"""SIGTERM and Ctrl-C end a run after the same step in all its processes, with a checkpoint; Ctrl-C again at once.

transformers' own handler (`enable_jit_checkpoint`) asks each process alone: one that hears of it a step before the
others waits in the checkpoint while they wait in the next step. And where every process gets the signal, as from a
cluster's scheduler, data workers would die of it, and the run of that.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from accelerate.utils import gather_object
from torch.utils.data import DataLoader
from transformers import TrainerCallback


class StopTogether(TrainerCallback):
    """Ends training, and saves, when any process was told to stop."""

    def __init__(self):
        self._told = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take SIGTERM and the first SIGINT for a wish, in the main thread, until training has ended."""
        before = {number: signal.signal(number, self._hear) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def on_step_end(self, args, state, control, **kwargs):
        if any(gather_object([self._told])):
            control.should_save = control.should_training_stop = True

    def _hear(self, number: int, _) -> None:
        self._told = True
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def shield_workers(loader: DataLoader) -> DataLoader:
    """Let nobody but this process end the workers of a loader, once they have started; returns the loader."""
    starts = getattr(loader, "base_dataloader", loader)  # accelerate wraps the one that starts them
    starts.worker_init_fn = partial(_obey_parent, starts.worker_init_fn)
    return loader


def _obey_parent(start: Callable[[int], None] | None, worker: int) -> None:
    """In a worker: SIGTERM counts if the parent sends it, as at its own end; Ctrl-C is for the parent to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # macOS has none
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        threading.Thread(target=_wait_for_parent, args=(os.getppid(),), daemon=True).start()
    if start:
        start(worker)


def _wait_for_parent(parent: int) -> None:
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != parent:
        pass
    os._exit(0)
