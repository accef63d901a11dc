"""The engine for many users at once: the model in vLLM's Transformers backend.

Needs an environment of its own (requirements-vllm.txt). vLLM runs in the worker's own process, so it lives and dies
with it, and our code is laid over the checkpoint's, as everywhere: code from a repository is never run.
"""

import json
import logging
import os
import tempfile
import threading
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
from .engine_worker import NO_TOP_K, Deliver, Fail, work
from .hub_bundle import CHECKPOINT_FILES, lay_with_code
from .vllm_preflight import check_folder, lora_rank

logger = logging.getLogger(__name__)

ADAPTER = "adapter"
MOST_CLIPS = 16  # of each kind in one prompt
ON_CPU = {"dtype": "float32", "enforce_eager": True, "block_size": 32}
CPU_CACHE_GB = "2"


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

    def add(self, name: str, prompt: Any, *, max_new_tokens: int, temperature: float, top_p: float, top_k: int) -> None:
        from vllm import SamplingParams  # pyright: ignore[reportMissingImports]

        sampling = {"top_p": top_p, "top_k": 0 if top_k == NO_TOP_K else top_k} if temperature else {}
        params = SamplingParams(temperature=temperature, max_tokens=max_new_tokens, detokenize=False, **sampling)
        self._inbox.put(("add", name, prompt, params))

    def cancel(self, name: str) -> None:
        self._inbox.put(("cancel", name))

    def _step_for_ever(self) -> None:
        """vLLM's engine is used from this thread alone."""
        try:
            while True:
                self._take(wait=not self._engine.has_unfinished_requests())
                for output in self._engine.step() if self._engine.has_unfinished_requests() else ():
                    self._deliver(output.request_id, list(output.outputs[0].token_ids), output.finished)
        except Exception:
            logger.exception("vLLM broke down")
            self._fail(None)

    def _take(self, *, wait: bool) -> None:
        """Begin and abandon answers, as asked since."""
        while True:
            try:
                message = self._inbox.get(block=wait)
            except Empty:
                return
            wait = False
            if message[0] == "cancel":
                self._engine.abort_request([message[1]])
                continue
            _, name, prompt, params = message
            try:
                self._engine.add_request(name, prompt, params, lora_request=self._lora)
            except ValueError:
                self._fail(name)


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
