"""While a run goes on: do captions collapse into one sentence, and do they depend on the video at all?

    watch = CollapseWatch(processor, items, collator, output=Path("run/watch"), every=200, stop=True)
    trainer.add_callback(watch)
    watch.log = trainer.log  # TensorBoard and trackio see the numbers, too
    trainer.train()
    if watch.stopped_for: ...

The loss of a collapsing run looks healthy: it falls, because a sentence that fits every video is likely.
"""

import dataclasses
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from accelerate.utils import broadcast_object_list
from accelerate.utils.memory import should_reduce_batch_size
from torch.distributed.fsdp import FullyShardedDataParallel
from torch.distributed.tensor import DTensor
from transformers import TrainerCallback
from transformers.integrations import is_deepspeed_zero3_enabled

from corpus.report_pages import write_whole

from .collapse_signs import Limits, Look, Sample, Sign, find_signs, persistent_sign
from .held_out_clips import HeldOutClips, undisturbed
from .watch_report import write_training_report

logger = logging.getLogger(__name__)

LOOKS_FILE = "looks.json"


class CollapseWatch(TrainerCallback):
    """Looks at held-out clips before the first step, every so often and at the end; warns, reports, and may stop.

    A watched run trains bit by bit as an unwatched one. Memory that runs out during a look, or a full disk, costs the
    look and not the run. In a data-parallel run process 0 takes a look while the others wait (`ddp_timeout` must be
    longer); where weights are spread over processes (FSDP2, ZeRO-3) all take it together. FSDP version 1 has no looks.

    Args:
        processor: The model's processor.
        items: 16 to 64 items that training never sees; see `CaptionCollator` for their form.
        collator: From items to a batch with labels on the answers.
        output: Folder of the report, rewritten at every look. `looks.json` in it lets a resumed run go on.
        every: Steps between looks.
        stop: End the run when serious alarms persist; `stopped_for` then says why.
        max_new_tokens: Longest caption.
        batch_size: Held-out clips at once; halved when memory runs out.
        num_samples: Captions that every look keeps for the report.
        seed: Chooses whose video stands in for whose.
        facts: What the report says about the run, by name, in Korean.
        limits: Where the alarms begin.

    Attributes:
        log: The trainer's `log`; a callback cannot find it by itself. Without it numbers reach `state.log_history`, and
            no reporter.
        looks: All looks so far.
        signs: The last look's alarms.
        stopped_for: The alarm that ended the run, or None.

    Raises:
        ValueError: If items are fewer than two or lack an answer, or `every` is not positive.
    """

    log: Callable[[dict[str, float]], None] | None = None

    def __init__(
        self,
        processor,
        items: Sequence[dict],
        collator: Callable[[list[dict]], Mapping],
        *,
        output: Path,
        every: int,
        stop: bool = False,
        max_new_tokens: int = 256,
        batch_size: int = 8,
        num_samples: int = 4,
        seed: int = 0,
        facts: Mapping[str, str] | None = None,
        limits: Limits | None = None,
    ):
        if every < 1:
            raise ValueError(f"every is {every}; it must be at least 1 step. To do without a watch, don't add one.")
        self.output, self.every, self.stop = Path(output), every, stop
        self.facts, self.limits = dict(facts or {}), limits or Limits()
        self.clips = HeldOutClips(
            items,
            collator,
            processor.tokenizer,
            max_new_tokens=max_new_tokens,
            batch_size=batch_size,
            num_samples=num_samples,
            seed=seed,
        )
        self.looks: list[Look] = []
        self.signs: list[Sign] = []
        self.stopped_for: Sign | None = None
        self._looked_at: int | None = None

    def on_train_begin(self, args, state, control, *, model, **kwargs):
        self.looks, self.signs, self.stopped_for = [], [], None
        self._looked_at = state.global_step
        if state.global_step == 0:
            self._look(args, state, control, model)
        elif state.is_world_process_zero:  # resumed: what the run saw before its checkpoint
            self.looks = [look for look in read_looks(self.output / LOOKS_FILE) if look.step <= state.global_step]
        return control

    def on_step_end(self, args, state, control, *, model, **kwargs):
        if state.global_step % self.every == 0 or state.global_step >= state.max_steps:
            self._look(args, state, control, model)
        return control

    def on_train_end(self, args, state, control, *, model, **kwargs):
        if self._looked_at != state.global_step:
            self._look(args, state, control, model, ended=True)
        if state.is_world_process_zero and self.looks:
            self._write(state.log_history)  # the trainer logs a step's loss after the look at it

    def _look(self, args, state, control, model, *, ended: bool = False) -> None:
        self._looked_at = state.global_step  # the same on every process, as all that decides who waits for whom
        if any(isinstance(module, FullyShardedDataParallel) for module in model.modules()):
            logger.warning("no look at step %d: FSDP version 1 cannot generate; use fsdp_version 2", state.global_step)
            return
        sharded = args.world_size > 1 and _is_sharded(model)
        if state.is_world_process_zero or sharded:
            look = self._measure(args, model, state, sharded=sharded)
            if look is not None and state.is_world_process_zero:
                self.looks.append(look)
                self._tell(look, state, control, ended=ended)
        if self.stop and not ended:
            self._stop(args, state, control)

    def _measure(self, args, model, state, *, sharded: bool) -> Look | None:
        progress = state.global_step / state.max_steps if state.max_steps > 0 else 0.0
        try:
            with undisturbed(model):
                return self.clips.look(
                    model, step=state.global_step, progress=progress, device=args.device, sharded=sharded
                )
        except RuntimeError as error:
            if sharded or not should_reduce_batch_size(error):
                raise
            logger.warning("out of memory on one held-out clip; no look at step %d: %s", state.global_step, error)
            return None

    def _tell(self, look: Look, state, control, *, ended: bool) -> None:
        self.signs = find_signs(self.looks, self.limits)
        if self.stop and self.stopped_for is None:
            self.stopped_for = persistent_sign(self.looks, self.limits)
        logger.info(
            "step %d: %s\n  %s",
            look.step,
            ", ".join(f"{name.removeprefix('watch/')} {value:.3f}" for name, value in look.numbers().items()),
            "\n  ".join(sample.caption for sample in look.samples),
        )
        for sign in self.signs:
            logger.warning("%s. Likely causes: %s.", sign, "; ".join(sign.causes))
        if self.log is not None and not ended:  # at the end the reporters have closed their files
            # Telling the reporters clears the trainer's own wish to log its loss at this step.
            should_log = control.should_log
            self.log(look.numbers())
            control.should_log = should_log
        else:
            state.log_history.append({**look.numbers(), "epoch": state.epoch, "step": state.global_step})
        self._write(state.log_history)

    def _write(self, log_history: list[dict]) -> None:
        stopped = {"중단": f"{self.stopped_for.code} 경고가 이어져 학습을 멈췄습니다."} if self.stopped_for else {}
        try:
            self.output.mkdir(parents=True, exist_ok=True)
            rows = [dataclasses.asdict(look) for look in self.looks]
            write_whole(self.output / LOOKS_FILE, json.dumps(rows, ensure_ascii=False, indent=1).encode())
            write_training_report(self.output, log_history, self.looks, facts=self.facts | stopped, limits=self.limits)
        except OSError as error:
            logger.warning("the report in %s could not be written and the run goes on: %s", self.output, error)

    def _stop(self, args, state, control) -> None:
        """Stop every process, or none: the others do not know what process 0 has seen."""
        if args.world_size > 1:
            (self.stopped_for,) = broadcast_object_list([self.stopped_for])
        if self.stopped_for is not None:
            control.should_training_stop = True
            if state.is_world_process_zero:
                logger.error(
                    "TRAINING STOPS at step %d because of %s. Likely causes: %s. The report is in %s.",
                    state.global_step,
                    self.stopped_for,
                    "; ".join(self.stopped_for.causes),
                    self.output,
                )


def _is_sharded(model: torch.nn.Module) -> bool:
    """Whether a forward pass needs every process: ZeRO-3, FSDP2, tensor parallelism."""
    return is_deepspeed_zero3_enabled() or any(isinstance(parameter, DTensor) for parameter in model.parameters())


def read_looks(path: Path) -> list[Look]:
    """The looks of the run so far; none where there is no file, or one that this version didn't write."""
    try:
        rows = json.loads(path.read_bytes())
        return [Look(**row | {"samples": tuple(Sample(**sample) for sample in row["samples"])}) for row in rows]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, KeyError) as error:
        logger.warning("%s holds no looks of this watch (%s); their history starts anew", path, error)
        return []
