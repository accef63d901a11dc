"""SIGTERM, as of a machine that is taken away, ends a run after the same step in all its processes, with a checkpoint.

transformers' own handler (`enable_jit_checkpoint`) asks each process alone: one that hears of it a step before the
others waits in the checkpoint while they wait in the next step.
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from accelerate.utils import gather_object
from transformers import TrainerCallback


class StopTogether(TrainerCallback):
    """Ends training, and saves, when any process was told to stop."""

    def __init__(self):
        self._told = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take SIGTERM for a wish, in the main thread, until training has ended."""
        before = signal.signal(signal.SIGTERM, self._hear)
        try:
            yield
        finally:
            signal.signal(signal.SIGTERM, before)

    def on_step_end(self, args, state, control, **kwargs):
        if any(gather_object([self._told])):
            control.should_save = control.should_training_stop = True

    def _hear(self, *_) -> None:
        self._told = True
