"""transformers' Trainer with what a long run needs: it stops at NaN, counts bad samples and saves what was trained."""

import logging
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import torch
from peft import PeftModel
from safetensors.torch import save_file
from torch.utils.data import DataLoader, Sampler
from transformers import Trainer
from transformers.trainer import TRAINING_ARGS_NAME
from transformers.trainer_pt_utils import get_length_grouped_indices
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR
from transformers.utils import SAFE_WEIGHTS_NAME

from configuration.coded_errors_kocap import CodedError
from configuration.disk_writing import DiskError, writing

from .checkpoints import mark_complete, missing_files
from .collator import IGNORED
from .stop_signal import StopTogether, shield_workers

logger = logging.getLogger(__name__)


class NonFiniteLossError(CodedError, RuntimeError):
    """The loss became NaN or infinite; whatever would follow is worthless."""

    code = "E_NAN"

    def __init__(self, step: int, loss: float):
        super().__init__("the loss is not a number")
        self.args = (step, loss)
        self.step, self.loss = step, loss

    def __str__(self) -> str:
        return (
            f"{self.code}: the loss is {self.loss} at step {self.step}. Go on from the last checkpoint with a smaller"
            " learning rate; with fp16, try bf16 or fp32."
        )

    @property
    def message_ko(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        return (
            f"{self.step}번째 스텝에서 손실이 {self.loss}이(가) 되어 학습을 멈췄습니다."
            " 학습률을 낮추고 마지막 체크포인트에서 이어 가세요. fp16이라면 bf16이나 fp32를 써 보세요."
        )


class LengthGroups(Sampler):
    """Indices of items, those of like length together, the longest batch first; another order in every epoch.

    The order depends on seed and epoch alone, so a resumed run sees what it would have seen.

    Args:
        lengths: Tokens per item.
        batch_size: Items per optimizer step, over all processes.
    """

    def __init__(self, lengths: list[int], batch_size: int, seed: int):
        self.lengths, self.batch_size, self.seed, self.epoch = lengths, batch_size, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the Trainer."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        return iter(get_length_grouped_indices(self.lengths, self.batch_size, generator=generator))


class CarefulTrainer(Trainer):
    """Trains any module, and loses nothing.

    - Stops with `NonFiniteLossError` instead of logging a loss of 0, and with a checkpoint at SIGTERM.
    - Checkpoints hold what is trained, as safetensors, and a list of their files that is written last.
    """

    def train(self, *args, **kwargs):
        stop = StopTogether()
        self.add_callback(stop)
        try:
            with stop.listening():
                return super().train(*args, **kwargs)
        finally:
            self.remove_callback(stop)

    def get_train_dataloader(self) -> DataLoader:
        return shield_workers(super().get_train_dataloader())

    def training_step(self, model, inputs, num_items_in_batch=None) -> torch.Tensor:
        loss = super().training_step(model, inputs, num_items_in_batch)
        if not torch.isfinite(loss):
            raise NonFiniteLossError(self.state.global_step + 1, loss.item())
        return loss

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        folder = Path(output_dir or self.args.output_dir)
        model = self.accelerator.unwrap_model(self.model, keep_torch_compile=False)
        if isinstance(model, PeftModel):
            super()._save(output_dir, state_dict)
            (folder / TRAINING_ARGS_NAME).unlink(missing_ok=True)  # a pickle, and it would carry a Hub token
        elif self.args.should_save:
            folder.mkdir(parents=True, exist_ok=True)
            save_file(trained_weights(model, state_dict), folder / SAFE_WEIGHTS_NAME, metadata={"format": "pt"})

    def _issue_warnings_after_load(self, load_result) -> None:
        """Say nothing of weights that a checkpoint doesn't hold because they are not trained."""
        trained = {name for name, parameter in self.model.named_parameters() if parameter.requires_grad}
        if lost := sorted(trained.intersection(load_result.missing_keys)):
            raise ValueError(f"the checkpoint lacks {len(lost)} of the weights to train, among them {lost[0]}.")

    def _save_checkpoint(self, model, trial) -> None:
        folder = Path(self.args.output_dir) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        try:
            with writing(folder.parent, "a checkpoint"):
                super()._save_checkpoint(model, trial)
                self.accelerator.wait_for_everyone()  # what others write, as their random states, belongs to it
                if self.args.should_save:
                    mark_complete(folder)
        except DiskError:
            if missing_files(folder):
                shutil.rmtree(folder, ignore_errors=True)  # half a checkpoint is of no use and fills the disk
            raise


class KoCapTrainer(CarefulTrainer):
    """Trains a KoCap model, or an adapter on one.

    - Computes logits of answers only: a clip has more video tokens, and Qwen3's vocabulary is large.
    - Takes items of like length together (`train_dataset.lengths`), the longest first: what doesn't fit shows at once.

    Attributes:
        problems: How often each code was met among samples that could not be read.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.problems: Counter[str] = Counter()

    def training_step(self, model, inputs, num_items_in_batch=None) -> torch.Tensor:
        self.problems.update(problem["code"] for problem in inputs.pop("problems", ()))
        return super().training_step(model, inputs, num_items_in_batch)

    def compute_loss(self, model, inputs, *args, **kwargs):
        inputs["logits_to_keep"] = answer_length(inputs["labels"])
        return super().compute_loss(model, inputs, *args, **kwargs)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if self.problems:
            logs = logs | {"bad_samples": self.problems.total()}
        super().log(logs, start_time)

    def _get_train_sampler(self, train_dataset=None):
        dataset = self.train_dataset if train_dataset is None else train_dataset
        if self.args.train_sampling_strategy != "group_by_length":
            return super()._get_train_sampler(train_dataset)
        step = self.args.train_batch_size * self.args.gradient_accumulation_steps * self.args.world_size
        return LengthGroups(dataset.lengths, step, self.args.seed)


def answer_length(labels: torch.Tensor) -> int:
    """How many positions at the end of a batch, `[B, L]`, hold all labels, and the position before the first one."""
    first = (labels != IGNORED).any(0).nonzero()
    return labels.shape[1] - max(int(first[0]) - 1, 0) if len(first) else 1


def trained_weights(model: torch.nn.Module, state_dict: dict | None = None) -> dict[str, torch.Tensor]:
    """The weights that require gradients, by name, contiguous and on the CPU; `state_dict`: gathered ones, if any."""
    wanted = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    found = wanted if state_dict is None else {name: state_dict[name] for name in wanted}
    return {name: weight.detach().cpu().contiguous() for name, weight in found.items()}


def halve_batch(per_device: int, accumulation: int) -> tuple[int, int]:
    """Batch and accumulation for the next try after running out of memory; a step sees as many items as before."""
    smaller = max(1, per_device // 2)
    return smaller, -(-per_device * accumulation // smaller)
