"""What moves in training: an adapter on the language model's linear layers, the projector, or all but the vision tower.

    model = KoCapForConditionalGeneration.from_pretrained(base, quantization_config=quantization_config("qlora"))
    model = add_adapter(model, "qlora", rank=16)

The result is PEFT's own model, and its adapter one that any PEFT user loads. Projector and embeddings never travel in
an adapter: vLLM refuses `modules_to_save` and biases.
"""

import re
from pathlib import Path
from typing import Literal, get_args

import torch
from peft import LoraConfig, PeftModel, WaveFTConfig, get_peft_model
from torch import nn
from transformers import BitsAndBytesConfig

from modeling.checkpoint_names import weights_revision
from modeling.modeling_kocap import NOT_QUANTISED, KoCapForConditionalGeneration

AdapterKind = Literal["lora", "dora", "qlora", "qdora", "wavelet", "full"]
Stage = Literal["align", "caption"]
KINDS: tuple[AdapterKind, ...] = get_args(AdapterKind)
QUANTISED_KINDS = ("qlora", "qdora")

# Vision towers have layers of the same names. Experts of a mixture are one three-dimensional parameter per layer, not
# linear layers, so in sparse layers attention alone is adapted; router and experts stay as they are.
TARGETS = r"(?:model\.)?language_model\..*\.(?:q|k|v|o|gate|up|down)_proj"
BRIDGE = ("multi_modal_projector.", "motion.")
VISION = "vision_tower."


def quantization_config(kind: AdapterKind, dtype: torch.dtype = torch.bfloat16) -> BitsAndBytesConfig | None:
    """How the base is loaded for this kind: NF4 with double quantisation for `qlora` and `qdora`, else None.

    Vision tower, projector and head keep their precision.

    Args:
        dtype: What 4-bit layers compute in: bfloat16, or float16 on GPUs without it.
    """
    if _known(kind) not in QUANTISED_KINDS:
        return None
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=list(NOT_QUANTISED),
    )


def add_adapter(
    model: KoCapForConditionalGeneration, kind: AdapterKind, *, rank: int = 16, revision: str | None = None
) -> PeftModel | KoCapForConditionalGeneration:
    """Freeze the model and add what is to be trained.

    Targets are q, k, v, o, gate, up and down_proj of the language model only, with alpha = 2 rank. `wavelet` gives each
    layer as many coefficients as LoRA of this rank has weights there. `full` adds nothing and returns the model itself
    with language model, head, projector and motion unfrozen.

    Args:
        model: As `from_pretrained` gives it, with `quantization_config(kind)`. Changed in place.
        rank: Of LoRA and DoRA, >= 1.
        revision: The base's commit, written into `adapter_config.json`. Default: the commit the model was downloaded
            at, or `sha256:` of a local folder's weights.
    Raises:
        ValueError: If kind or rank are unknown, the model is (not) quantised against its kind, or has no such layers.
    """
    _check_quantisation(model, _known(kind))
    if kind == "full":
        freeze_for(model, "caption")
        return model
    if rank < 1:
        raise ValueError(f"rank is {rank}; it must be >= 1. 8 to 64 are usual.")
    targets = adapted_layers(model)
    if not targets:
        raise ValueError(
            f"{type(model).__name__} has no layer that matches {TARGETS!r}; adapters need linear layers of these names"
            " in the language model. Train with kind 'full'."
        )
    if kind in QUANTISED_KINDS:
        _prepare_quantised(model)
    config = _wavelet_config(targets, rank) if kind == "wavelet" else _lora_config(kind, rank)
    adapted = get_peft_model(model, config)
    _pin_base(adapted, model, revision)
    return adapted


def adapted_layers(model: nn.Module) -> dict[str, nn.Linear]:
    """The layers an adapter goes to, by name."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and re.fullmatch(TARGETS, name)
    }


def freeze_for(model: nn.Module, stage: Stage) -> list[str]:
    """Let a stage's parameters move and no others.

    `align`: projector and motion. `caption`: the adapter; without one (`full`) everything but the vision tower.

    Returns:
        Names of the parameters that move.
    """
    if stage not in get_args(Stage):
        raise ValueError(f"stage is {stage!r}; it must be one of {', '.join(get_args(Stage))}.")
    is_adapted = isinstance(model, PeftModel)
    moving = []
    for name, parameter in model.named_parameters():
        if stage == "align":
            moves = any(f".{part}" in f".{name}" for part in BRIDGE)
        elif is_adapted:
            moves = model.base_model.prefix in name
        else:
            moves = f".{VISION}" not in f".{name}"
        parameter.requires_grad_(moves)
        if moves:
            moving.append(name)
    return moving


def count_trainable(model: nn.Module) -> int:
    """How many numbers move."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def _known(kind: str) -> str:
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}; it must be one of {', '.join(KINDS)}.")
    return kind


def _check_quantisation(model: nn.Module, kind: str) -> None:
    is_quantised = bool(getattr(model, "is_loaded_in_4bit", False))
    if kind in QUANTISED_KINDS and not is_quantised:
        raise ValueError(
            f"kind is {kind!r} but the model is not in 4 bits; load it with quantization_config=quantization_config"
            f"({kind!r}), or use {kind[1:]!r}."
        )
    if kind not in QUANTISED_KINDS and is_quantised:
        raise ValueError(f"kind is {kind!r} but the model is in 4 bits; use qlora or qdora, or load it unquantised.")


def _lora_config(kind: str, rank: int) -> LoraConfig:
    return LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=TARGETS, use_dora=kind in ("dora", "qdora"))


def _wavelet_config(targets: dict[str, nn.Linear], rank: int) -> WaveFTConfig:
    """As many coefficients per layer as LoRA has weights, by the layers' last names, which share their shape."""
    pattern: dict[str, int] = {}
    for name, layer in targets.items():
        rows, columns = layer.out_features, layer.in_features
        count = min(rank * (rows + columns), rows * columns)
        short = name.rsplit(".", 1)[-1]
        pattern[short] = min(count, pattern.get(short, count))
    return WaveFTConfig(target_modules=TARGETS, n_frequency=min(pattern.values()), n_frequency_pattern=pattern)


def _prepare_quantised(model: KoCapForConditionalGeneration) -> None:
    """What a 4-bit base needs besides an adapter.

    PEFT's `prepare_model_for_kbit_training` makes embeddings, head and norms float32. For Qwen3-8B that takes 2.3 GiB,
    1.2 more for the copy that autocast keeps of the head, and twice the memory for what gradient checkpointing keeps;
    frozen as they are, they gain nothing from it, so they stay. In float16 alone, whose range ends at 65,504, the
    residual stream is float32, as with PEFT.
    """
    model.enable_input_require_grads()  # frozen embeddings would end the gradient of reentrant checkpointing
    embeddings, head = model.get_input_embeddings(), model.get_output_embeddings()
    if embeddings.weight.dtype == torch.float16:
        embeddings.register_forward_hook(lambda module, inputs, output: output.float())
        head.register_forward_pre_hook(lambda module, inputs: (inputs[0].to(module.weight.dtype),))


def _pin_base(adapted: PeftModel, model: KoCapForConditionalGeneration, revision: str | None) -> None:
    config = adapted.peft_config["default"]
    name = model.name_or_path or None
    if name and Path(name).is_dir():
        revision = revision or weights_revision(Path(name))
        name = str(Path(name).resolve())
    config.base_model_name_or_path = name
    config.revision = revision or getattr(model.config, "_commit_hash", None)
