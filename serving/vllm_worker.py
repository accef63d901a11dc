"""The engine for many users at once: the model in vLLM's Transformers backend.

Needs an environment of its own (requirements-vllm.txt). vLLM runs in the worker's own process, so it lives and dies
with it, and our code is laid over the checkpoint's, as everywhere: code from a repository is never run.
"""

import json
import logging
import os
import tempfile
import threading
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import torch
from huggingface_hub import snapshot_download
from transformers import GenerationConfig

from modeling.checkpoint_loading import load_processor, loading
from modeling.checkpoint_names import weights_revision
from processing.video_processing_kocap import ClipMetadata

from .engine import Job
from .engine_worker import Deliver, Fail, work
from .hub_bundle import CHECKPOINT_FILES, lay_with_code
from .token_sampling import NO_TOP_K, TokenSampling
from .vllm_preflight import check_folder, lora_rank

logger = logging.getLogger(__name__)

ADAPTER = "adapter"
MOST_CLIPS = 16  # of each kind in one prompt
ON_CPU = {"dtype": "float32", "enforce_eager": True, "block_size": 32}
CPU_CACHE_GB = "2"
MOST_BREAKDOWNS = 3  # that an answer may be part of without being the reason


def serve(connection: Connection, model: str, slots: int, max_context: int, *, trust_remote_code: bool = False) -> None:
    """The process's main function."""
    options = {"slots": slots, "max_context": max_context, "trust_remote_code": trust_remote_code}
    work(connection, partial(VllmWriter, model, **options))


class VllmWriter:
    """See `Writer`.

    Args:
        model: Checkpoint or LoRA adapter, folder or Hub id.
        slots: Answers at the same time.
        max_context: Less where the model cannot see as many tokens.
        trust_remote_code: Of the processor; the model's code is always ours.

    Raises:
        ModelError: If there is no such folder or repository, or it cannot be loaded.
        ValueError: If vLLM cannot serve it; the message says why.
    """

    def __init__(self, model: str, *, slots: int, max_context: int, trust_remote_code: bool = False):
        with loading(model):
            base, adapter = _resolve(model)
        self.processor = load_processor(str(base), trust_remote_code=trust_remote_code)
        config = json.loads((base / "config.json").read_text(encoding="utf-8"))
        longest = config["text_config"].get("max_position_embeddings") or max_context
        self.max_context = min(max_context, longest)
        self.tokenizer = self.processor.tokenizer
        self.generation_config = GenerationConfig.from_pretrained(base)
        told = adapter or base
        self.revision = weights_revision(told) if Path(model).is_dir() else told.name  # the Hub's commit
        with tempfile.TemporaryDirectory(prefix="kocap-vllm-") as room:
            lay_with_code(base, Path(room))
            self._engine, self._lora = _start_vllm(room, adapter, slots=slots, max_context=self.max_context)
        self._inbox: SimpleQueue[tuple] = SimpleQueue()
        self._answers: dict[str, _Answer] = {}

    def start(self, deliver: Deliver, fail: Fail) -> None:
        self._deliver, self._fail = deliver, fail
        threading.Thread(target=self._step_for_ever, daemon=True).start()

    def prepare(self, job: Job) -> tuple[int, Any]:
        text = self.processor.apply_chat_template(job.messages, add_generation_prompt=True, tokenize=False)
        parts = [part for message in job.messages for part in message["content"]]
        videos = [part["video"] for part in parts if part["type"] == "video"]
        images = [part["image"] for part in parts if part["type"] == "image"]
        clips = job.clips or [ClipMetadata(total_num_frames=len(video)) for video in videos]
        data = {
            "video": [(frames, _metadata(clip)) for frames, clip in zip(videos, clips, strict=True)],
            "image": images,
        }
        self.processor.validate_inputs(text=[text], videos=videos or None, images=images or None)
        seen = {name: items for name, items in data.items() if items}
        (rendered,) = self._engine.renderer.render_cmpl([{"prompt": text, "multi_modal_data": seen}])
        return len(rendered["prompt_token_ids"]), rendered

    def add(self, name: str, prompt: Any, *, max_new_tokens: int, sampling: TokenSampling) -> None:
        self._inbox.put(("add", name, _Answer(prompt, max_new_tokens, sampling)))

    def cancel(self, name: str) -> None:
        self._inbox.put(("cancel", name, None))

    def _step_for_ever(self) -> None:
        """vLLM's engine is used from this thread alone."""
        while True:
            try:
                self._take(wait=not self._engine.has_unfinished_requests())
                self._step()
            except Exception as error:
                logger.error("vLLM broke down with %s", type(error).__name__)
                try:
                    self._mend()
                except Exception:  # nothing works any more, not even a prompt of ours
                    return self._fail(list(self._answers), True)

    def _step(self) -> None:
        for output in self._engine.step() if self._engine.has_unfinished_requests() else ():
            name, answer = output.request_id, self._answers.get(output.request_id)
            if answer is None:
                continue  # abandoned
            answer.tokens = [*answer.tokens[: answer.before], *output.outputs[0].token_ids]
            if output.finished:
                del self._answers[name]
            self._deliver(name, answer.tokens, output.finished)

    def _mend(self) -> None:
        """Find what broke vLLM down by trying its answers apart, and go on with the others.

        Raises:
            Exception: vLLM's, when it works no more.
        """
        self._engine.abort_request(list(self._answers))
        for name, answer in list(self._answers.items()):
            answer.breakdowns += 1
            try:
                self._begin(name, answer)
                written = len(answer.tokens)
                while self._engine.has_unfinished_requests() and len(answer.tokens) == written:
                    self._step()
                self._engine.abort_request([name])
            except Exception:
                self._engine.abort_request([name])
                if not self._works():
                    self._fail([name], True)
                    raise
                answer.breakdowns = MOST_BREAKDOWNS + 1
            if name in self._answers and answer.breakdowns > MOST_BREAKDOWNS:
                del self._answers[name]
                self._fail([name], False)
        for name, answer in self._answers.items():
            self._begin(name, answer)

    def _works(self) -> bool:
        """Whether vLLM still answers a prompt of ours."""
        from vllm import SamplingParams  # pyright: ignore[reportMissingImports]

        try:
            self._engine.add_request("control", {"prompt_token_ids": [0]}, SamplingParams(max_tokens=1))
            while self._engine.has_unfinished_requests():
                self._engine.step()
        except Exception:
            return False
        return True

    def _take(self, *, wait: bool) -> None:
        """Begin and abandon answers, as asked since."""
        while True:
            try:
                what, name, answer = self._inbox.get(block=wait)
            except Empty:
                return
            wait = False
            if what == "cancel":
                self._answers.pop(name, None)
                self._engine.abort_request([name])
                continue
            self._answers[name] = answer
            try:
                self._begin(name, answer)
            except ValueError:
                del self._answers[name]
                self._fail([name], False)

    def _begin(self, name: str, answer: "_Answer") -> None:
        """Write an answer, or go on with it."""
        from vllm import SamplingParams  # pyright: ignore[reportMissingImports]

        how, answer.before = answer.sampling, len(answer.tokens)
        chosen: dict[str, Any] = {"repetition_penalty": how.repetition_penalty}
        if how.temperature:
            # A seed goes on elsewhere where an answer is gone on with.
            seed = None if how.seed is None else (how.seed + answer.before) % (1 << 63)  # -1 is none to vLLM
            chosen |= {"top_p": how.top_p, "top_k": 0 if how.top_k == NO_TOP_K else how.top_k, "seed": seed}
        left = answer.max_new_tokens - answer.before
        params = SamplingParams(temperature=how.temperature, max_tokens=left, detokenize=False, **chosen)
        ids = [*answer.prompt["prompt_token_ids"], *answer.tokens]
        self._engine.add_request(name, {**answer.prompt, "prompt_token_ids": ids}, params, lora_request=self._lora)


@dataclass
class _Answer:
    """An answer that is being written, and all that it takes to begin again."""

    prompt: Any
    max_new_tokens: int
    sampling: TokenSampling
    tokens: list[int] = field(default_factory=list)
    before: int = 0  # tokens written before vLLM broke down
    breakdowns: int = 0


def _resolve(model: str) -> tuple[Path, Path | None]:
    """Folder of the base model, and that of the adapter where `model` is one."""
    folder = _folder(model)
    adapter_config = folder / "adapter_config.json"
    if not adapter_config.is_file():
        return folder, None
    settings = json.loads(adapter_config.read_text(encoding="utf-8"))
    findings = [finding.message_ko for finding in check_folder(folder).findings if finding.blocks]
    if findings:
        raise ValueError(" ".join(findings))
    return _folder(settings["base_model_name_or_path"], settings.get("revision")), folder


def _folder(model: str, revision: str | None = None) -> Path:
    if Path(model).is_dir():
        return Path(model)
    wanted = [*CHECKPOINT_FILES, "adapter_config.json", "adapter_model.safetensors"]
    return Path(snapshot_download(model, revision=revision, allow_patterns=wanted))


def _start_vllm(folder: str, adapter: Path | None, *, slots: int, max_context: int) -> tuple[Any, Any]:
    """vLLM's engine, and its name for the adapter."""
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # no process of its own: it dies with this one
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", CPU_CACHE_GB)
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    try:
        from vllm import EngineArgs, LLMEngine  # pyright: ignore[reportMissingImports]
        from vllm.lora.request import LoRARequest  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ValueError(
            f"vLLM cannot be used here ({error}); run this in the environment of requirements-vllm.txt, as"
            " docs/serving.md says. vLLM이 없는 환경입니다. docs/serving.md의 환경에서 실행해 주세요."
        ) from None

    options: dict[str, Any] = {} if torch.cuda.is_available() else dict(ON_CPU)
    if adapter:
        rank = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))["r"]
        options |= {"enable_lora": True, "max_lora_rank": lora_rank(rank)}
    engine = LLMEngine.from_engine_args(
        EngineArgs(
            model=folder,
            trust_remote_code=True,  # ours: `lay_with_code`
            model_impl="transformers",
            max_model_len=max_context,
            max_num_seqs=slots,
            limit_mm_per_prompt={"video": MOST_CLIPS, "image": MOST_CLIPS},
            mm_processor_cache_gb=0,  # visitors' clips differ
            disable_log_stats=True,
            **options,
        )
    )
    return engine, LoRARequest(ADAPTER, 1, str(adapter)) if adapter else None


def _metadata(clip: ClipMetadata) -> dict[str, Any]:
    """What the processor needs to know of frames that are already chosen."""
    return {**dict(clip), "do_sample_frames": False}
