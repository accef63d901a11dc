"""How many parameters a model has and of what kind, counted on the meta device: no weights are allocated."""

import functools
import json
from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_MAPPING

from .configuration_kocap import KoCapConfig

# What an adapter is put on: every linear layer of the language model, as Qwen and LLaMA name them.
ADAPTED_LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class ParameterCounts:
    """Numbers of parameters of one model.

    Args:
        vision: The vision tower.
        projector: The projector, and the motion layer where there is one.
        embeddings: Embeddings and head; one matrix where they are tied.
        linears: The language model's `nn.Linear` weights, without the head: what 4-bit loading quantises.
        others: The rest of the language model: norms, and a mixture's experts, which transformers keeps as one tensor
            and neither bitsandbytes nor PEFT's defaults touch.
        adapted: `(in_features, out_features)` of every linear layer that gets an adapter.
    """

    vision: int
    projector: int
    embeddings: int
    linears: int
    others: int
    adapted: tuple[tuple[int, int], ...]

    @property
    def language_model(self) -> int:
        return self.embeddings + self.linears + self.others

    @property
    def total(self) -> int:
        return self.vision + self.projector + self.language_model

    def count_adapter(self, kind: str, rank: int) -> int:
        """Trainable parameters of an adapter; `full` is everything but the vision tower."""
        if kind == "full":
            return self.projector + self.language_model
        low_rank = sum(rank * (inputs + outputs) for inputs, outputs in self.adapted)
        magnitudes = sum(outputs for _, outputs in self.adapted) if kind in ("dora", "qdora") else 0
        return low_rank + magnitudes


def count_parameters(config: PreTrainedConfig) -> int:
    """Parameters of a backbone, tied ones once; a causal language model with its head."""
    return _count_backbone(_freeze(config))


def count_model(config: KoCapConfig) -> ParameterCounts:
    """Count a KoCap model part by part."""
    embeddings, linears, others, adapted = _count_text(_freeze(config.text_config))
    return ParameterCounts(
        vision=count_parameters(config.vision_config),
        projector=_count_projector(config),
        embeddings=embeddings,
        linears=linears,
        others=others,
        adapted=adapted,
    )


def _count_projector(config: KoCapConfig) -> int:
    vision, text = config.vision_hidden_size, config.text_config.hidden_size
    projector = vision * text + text + (text * text + text if config.projector_type == "mlp" else 0)
    return projector + (2 * vision * vision if config.motion else 0)


def _freeze(config: PreTrainedConfig) -> tuple[type[PreTrainedConfig], str]:
    return type(config), json.dumps(config.to_dict(), sort_keys=True, default=str)


@functools.lru_cache(maxsize=64)
def _count_backbone(frozen: tuple[type[PreTrainedConfig], str]) -> int:
    return sum(parameter.numel() for parameter in _build(frozen).parameters())


@functools.lru_cache(maxsize=64)
def _count_text(frozen: tuple[type[PreTrainedConfig], str]) -> tuple[int, int, int, tuple[tuple[int, int], ...]]:
    """Embeddings with head, linear layers, all else, and the shapes of the adapted linear layers."""
    text = _build(frozen)
    ends = (text.get_input_embeddings(), text.get_output_embeddings())
    in_ends = {id(module.weight): module.weight.numel() for module in ends}
    linears = {
        name: module
        for name, module in text.named_modules()
        if isinstance(module, nn.Linear) and id(module.weight) not in in_ends
    }
    in_linears = sum(parameter.numel() for module in linears.values() for parameter in module.parameters())
    total = sum(parameter.numel() for parameter in text.parameters())
    adapted = tuple(
        (module.in_features, module.out_features)
        for name, module in linears.items()
        if name.rpartition(".")[2] in ADAPTED_LINEARS
    )
    embeddings = sum(in_ends.values())
    return embeddings, in_linears, total - in_linears - embeddings, adapted


def _build(frozen: tuple[type[PreTrainedConfig], str]) -> nn.Module:
    config_class, fields = frozen
    config = config_class.from_dict(json.loads(fields))
    classes = MODEL_FOR_CAUSAL_LM_MAPPING if config_class in MODEL_FOR_CAUSAL_LM_MAPPING else MODEL_MAPPING
    with torch.device("meta"):
        return classes[config_class](config)  # `from_config` would share it out where ZeRO-3 is on
