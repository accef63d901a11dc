"""What a language model keeps in memory for the backward pass, in bytes, from its config alone.

The method is that of Korthikanti et al. 2022, "Reducing Activation Recomputation in Large Transformer Models", section
4.1: write down what every operation of a layer saves. Their result, `s*b*h*(34 + 5*a*s/h)` bytes for GPT in fp16, is
for LayerNorm, GELU, dropout and a stored attention matrix. Here a layer has RMSNorm (computed in float32), SwiGLU,
grouped-query attention and SDPA, which stores no attention matrix (Dao et al. 2022); frozen weights save nothing of
their inputs, adapters do. Counted by hand from transformers' Qwen3, PEFT's layers and torch's derivatives, and held
against `saved_tensors_hooks` in tests/test_memory_plan.py.
"""

from dataclasses import dataclass
from typing import Literal

from transformers import PreTrainedConfig

AdapterKind = Literal["lora", "dora", "qlora", "qdora", "wavelet", "full"]
FLOAT32_BYTES = 4


@dataclass(frozen=True)
class LayerWidths:
    """Widths of one decoder layer, in numbers per token.

    Args:
        hidden: The residual stream.
        query: All query heads together.
        key: All key heads together; values are as wide.
        heads: Number of query heads.
        feed_forward: Width between up and down; 0 in a mixture of experts.
        experts: Number of experts; 0 in a dense layer.
        routed: Experts per token.
        expert: Width inside one expert.
        normed_heads: Queries and keys are normed (Qwen3).
    """

    hidden: int
    query: int
    key: int
    heads: int
    feed_forward: int
    experts: int
    routed: int
    expert: int
    normed_heads: bool

    @classmethod
    def of(cls, text_config: PreTrainedConfig) -> "LayerWidths":
        heads = text_config.num_attention_heads
        head_dim = getattr(text_config, "head_dim", None) or text_config.hidden_size // heads
        experts = getattr(text_config, "num_experts", None) or 0
        return cls(
            hidden=text_config.hidden_size,
            query=heads * head_dim,
            key=(getattr(text_config, "num_key_value_heads", None) or heads) * head_dim,
            heads=heads,
            feed_forward=0 if experts else text_config.intermediate_size,
            experts=experts,
            routed=text_config.num_experts_per_tok if experts else 0,
            expert=text_config.moe_intermediate_size if experts else 0,
            normed_heads=text_config.model_type.startswith("qwen3"),
        )


def layer_bytes(
    widths: LayerWidths, *, kind: AdapterKind | None, rank: int, compute_bytes: int, padded: bool, sequence_length: int
) -> int:
    """Bytes that one layer keeps for the backward pass, per token.

    Args:
        widths: The layer's widths.
        kind: What is trained in it; None where the gradient only passes through (stage `align`).
        rank: The adapter's rank.
        compute_bytes: 4, or 2 under autocast.
        padded: The batch has a padding mask: SDPA then repeats keys and values per query head and keeps the mask.
        sequence_length: Tokens of one sample; the mask has a row of so many for every token.
    """
    attention = _attention_bytes(widths, kind=kind, compute_bytes=compute_bytes, padded=padded)
    mask = compute_bytes * sequence_length if padded else 0
    feed_forward = _expert_bytes if widths.experts else _swiglu_bytes
    return (
        attention
        + mask
        + feed_forward(widths, kind=kind, compute_bytes=compute_bytes)
        + _adapter_bytes(widths, kind=kind, rank=rank, compute_bytes=compute_bytes)
    )


def stream_bytes(kind: AdapterKind | None, dtype: str, *, four_bit: bool) -> int:
    """Bytes of one number in the residual stream.

    Under autocast it is as the embeddings give it: float32 where those are trained, and in float16 where an adapter
    stands on 4 bits (training/adapters.py).
    """
    is_float32 = dtype == "float32" or kind == "full" or (dtype == "float16" and four_bit and kind is not None)
    return FLOAT32_BYTES if is_float32 else 2


def norm_bytes(width: int, *, kind: AdapterKind | None) -> int:
    """RMSNorm keeps a float32 copy of its input, and where its weight is trained the normed input too."""
    return FLOAT32_BYTES * width * (2 if kind == "full" else 1)


def _input_bytes(width: int, readers: int, *, kind: AdapterKind | None, compute_bytes: int) -> int:
    """Inputs that `readers` trained linear layers keep.

    Autocast casts for every reader anew (PEFT hands float32 copies to float32 adapters, autocast casts them back); in
    float32 all keep the same tensor. Frozen layers keep nothing.
    """
    if kind is None:
        return 0
    return compute_bytes * width * (readers if compute_bytes < FLOAT32_BYTES else 1)


def _attention_bytes(widths: LayerWidths, *, kind: AdapterKind | None, compute_bytes: int, padded: bool) -> int:
    norms = norm_bytes(widths.hidden, kind=kind)
    if widths.normed_heads:
        norms += norm_bytes(widths.query + widths.key, kind=kind)
    inputs = _input_bytes(widths.hidden, 3, kind=kind, compute_bytes=compute_bytes)
    keys_values = 2 * (widths.query if padded else widths.key)
    sdpa = compute_bytes * (2 * widths.query + keys_values) + FLOAT32_BYTES * widths.heads  # q, out, k, v, log-sum-exp
    cast = compute_bytes < FLOAT32_BYTES and kind not in (None, "full")  # o_proj's adapter keeps a copy of `out`
    return norms + inputs + sdpa + (compute_bytes * widths.query if cast else 0)


def _swiglu_bytes(widths: LayerWidths, *, kind: AdapterKind | None, compute_bytes: int) -> int:
    inputs = _input_bytes(widths.hidden, 2, kind=kind, compute_bytes=compute_bytes)
    inside = compute_bytes * widths.feed_forward * (3 if kind is None else 4)  # gate, silu(gate), up; and their product
    return norm_bytes(widths.hidden, kind=kind) + inputs + inside


def _expert_bytes(widths: LayerWidths, *, kind: AdapterKind | None, compute_bytes: int) -> int:
    # Adapters do not reach the experts: only `full` trains them. Each token visits `routed` of them.
    visit = 3 * widths.expert + widths.hidden  # gate and up, silu(gate); down's output, for the router's weights
    if kind == "full":
        visit += widths.hidden + widths.expert  # the gathered input; the product
    router = 2 * FLOAT32_BYTES * widths.experts
    return norm_bytes(widths.hidden, kind=kind) + compute_bytes * widths.routed * visit + router


def _adapter_bytes(widths: LayerWidths, *, kind: AdapterKind | None, rank: int, compute_bytes: int) -> int:
    if kind in (None, "full", "wavelet"):
        return 0
    outputs = [widths.query, widths.key, widths.key, widths.hidden]
    if not widths.experts:
        outputs += [widths.feed_forward, widths.feed_forward, widths.hidden]
    low_rank = rank * len(outputs)
    scaled = 2 * sum(outputs) if kind in ("dora", "qdora") else 0  # both terms that DoRA's magnitudes multiply
    return compute_bytes * (low_rank + scaled)
