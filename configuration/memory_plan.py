"""How much memory a training run needs, before anything is loaded: every part from its formula.

The parts and where their formulas come from:

- Frozen weights: 4 or 2 bytes each; the language model's linear layers 4.127 bits where they are in NF4 with double
  quantisation (Dettmers et al. 2023, QLoRA). Trained weights are float32, and autocast keeps a copy of them in the
  compute dtype.
- Gradients and AdamW: 4 + 8 bytes for every trained parameter (Rajbhandari et al. 2020, ZeRO, section 3.1; with float32
  weights 16 bytes in all), 2.06 instead of 8 with 8-bit states (Dettmers et al. 2022).
- Activations: configuration/activation_memory.py.
- Moments that do not come together, of which the largest counts: the vision tower's forward pass; logits and loss; the
  backward pass through one layer, with gradient checkpointing after computing it again.

Not planned: eager attention, dropout in adapters, more than one GPU, torch.compile.
"""

from dataclasses import dataclass
from typing import Literal

from .activation_memory import AdapterKind, LayerWidths, layer_bytes, norm_bytes, stream_bytes
from .configuration_kocap import KoCapConfig
from .parameter_counts import ParameterCounts, count_model

Stage = Literal["align", "caption"]
Dtype = Literal["float32", "float16", "bfloat16"]
Optimizer = Literal["adamw_torch", "adamw_bnb_8bit"]

GIB = 2**30
DTYPE_BYTES: dict[str, int] = {"float32": 4, "float16": 2, "bfloat16": 2}
# 4 bits; one 8-bit scale for 64 weights; one float32 scale for 256 of those.
NF4_BYTES = (4 + 8 / 64 + 32 / (64 * 256)) / 8
OPTIMIZER_BYTES: dict[str, float] = {"adamw_torch": 8, "adamw_bnb_8bit": 2 * (1 + 4 / 256)}
# At the loss's peak there are three float32 tensors of logits: the log-softmax's output, its gradient and the logits'.
# `KoCapForConditionalGeneration` computes logits at every position where it gets labels, `logits_to_keep` being 0.
LOGITS_BYTES = 12
SAVED_LOGITS_BYTES = 4  # the log-softmax's output
CONTEXT_BYTES = int(0.75 * GIB)  # CUDA context, cuBLAS workspaces and loaded kernels; on a CPU Python and its libraries
FRAGMENTATION = 0.05  # of all that comes and goes within a step

PARTS_KO = {
    "frozen_weights": "고정 가중치",
    "trainable_weights": "학습 가중치",
    "gradients": "기울기",
    "optimizer": "옵티마이저 상태",
    "activations": "활성값 (역전파용)",
    "vision_forward": "· 순간: 비전 인코더",
    "logits": "· 순간: 로짓과 손실",
    "layer_backward": "· 순간: 한 층 역전파",
    "overhead": "CUDA 문맥과 조각",
}


@dataclass(frozen=True)
class MemoryPlan:
    """Bytes of every part of a training step.

    Args:
        frozen_weights: Weights that are not trained, as stored.
        trainable_weights: Float32 weights that are, with autocast's copies.
        gradients: Their float32 gradients.
        optimizer: AdamW's two states.
        activations: What the forward pass keeps for the backward pass, the loss apart.
        saved_logits: What the loss keeps of them; a part of `logits`.
        logits: Logits and loss at their peak.
        vision_forward: The vision tower's pass over the batch's frames; 0 with cached features.
        layer_backward: The backward pass through one layer.
        overhead: Context and fragmentation.
        trainable_parameters: How many parameters are trained.
    """

    frozen_weights: int
    trainable_weights: int
    gradients: int
    optimizer: int
    activations: int
    saved_logits: int
    logits: int
    vision_forward: int
    layer_backward: int
    overhead: int
    trainable_parameters: int

    @property
    def peak_moment(self) -> str:
        """Which of `vision_forward`, `logits` and `layer_backward` is the largest."""
        return max(("vision_forward", "logits", "layer_backward"), key=lambda name: getattr(self, name))

    @property
    def total(self) -> int:
        constant = self.frozen_weights + self.trainable_weights + self.gradients + self.optimizer + self.overhead
        return constant + self.activations + getattr(self, self.peak_moment)

    @property
    def saved_for_backward(self) -> int:
        """What autograd holds when the forward pass is over: what a hook on saved tensors can count."""
        return self.activations + self.saved_logits


def plan_memory(
    model_config: KoCapConfig,
    *,
    kind: AdapterKind,
    rank: int,
    dtype: Dtype,
    four_bit: bool,
    batch_size: int,
    sequence_length: int,
    frames: int,
    gradient_checkpointing: bool,
    stage: Stage = "caption",
    cached_features: bool = False,
    image_size: int | None = None,
    optimizer: Optimizer = "adamw_torch",
    logit_positions: int | None = None,
) -> MemoryPlan:
    """Plan one training step on one device; nothing is allocated.

    Args:
        model_config: Backbones and projector.
        kind: What stage `caption` trains: an adapter, or the whole language model.
        rank: The adapter's rank. `wavelet` is taken to train as many parameters as `lora` of this rank.
        dtype: Of frozen weights, and of the computation (by autocast where it is not float32).
        four_bit: The language model's linear layers are stored in NF4.
        batch_size: Samples per step and device.
        sequence_length: Tokens per sample, padding included.
        frames: Frames per sample.
        gradient_checkpointing: Of the language model.
        stage: `align` trains the projector alone, through the frozen language model.
        cached_features: The vision tower's outputs are read, not computed. Its weights stay loaded.
        image_size: Side of a frame in pixels; default: the vision config's.
        optimizer: AdamW with float32 or with 8-bit states.
        logit_positions: Positions per sample whose logits are computed; default: all.
    Raises:
        ValueError: If the settings contradict one another.
    """
    _check(kind=kind, four_bit=four_bit, dtype=dtype, stage=stage, batch_size=batch_size, length=sequence_length)
    counts = count_model(model_config)
    compute = DTYPE_BYTES[dtype]
    trained = counts.projector if stage == "align" else counts.count_adapter(kind, rank)
    trains = None if stage == "align" else kind
    widths = LayerWidths.of(model_config.text_config)
    tokens = batch_size * sequence_length
    layer = tokens * layer_bytes(
        widths,
        kind=trains,
        rank=rank,
        compute_bytes=compute,
        padded=batch_size > 1,
        sequence_length=sequence_length,
    )
    layer += _weight_products(counts, model_config, trains, compute)
    depth = model_config.text_config.num_hidden_layers
    stream = tokens * widths.hidden * stream_bytes(trains, dtype, four_bit=four_bit)
    kept = depth * (stream if gradient_checkpointing else layer)  # checkpointing keeps a layer's input alone
    end = norm_bytes(widths.hidden, kind=trains) + (compute * widths.hidden if trains == "full" else 0)
    projector = _projector_activations(model_config, stage, batch_size * frames, compute, image_size)
    vocabulary = tokens if logit_positions is None else batch_size * min(logit_positions, sequence_length)
    vocabulary *= model_config.text_config.vocab_size

    flow = 2 * (widths.hidden + (widths.feed_forward or widths.routed * widths.expert))  # gradients on their way
    activations = kept + tokens * end + projector
    logits = LOGITS_BYTES * vocabulary
    vision_forward = (
        0 if cached_features else _vision_forward(model_config, batch_size * frames, compute, image_size=image_size)
    )
    layer_backward = (
        (layer if gradient_checkpointing else 0)
        + tokens * compute * flow
        + _transient_weights(counts, trains, compute, four_bit)
    )
    moving = activations + max(logits, vision_forward, layer_backward)
    return MemoryPlan(
        frozen_weights=_frozen_bytes(counts, trains, compute, four_bit),
        trainable_weights=trained * (4 + (compute if compute < 4 else 0)),
        gradients=4 * trained,
        optimizer=round(OPTIMIZER_BYTES[optimizer] * trained),
        activations=activations,
        saved_logits=SAVED_LOGITS_BYTES * vocabulary,
        logits=logits,
        vision_forward=vision_forward,
        layer_backward=layer_backward,
        overhead=CONTEXT_BYTES + round(FRAGMENTATION * moving),
        trainable_parameters=trained,
    )


def describe(plan: MemoryPlan, *, memory_bytes: int | None = None, device: str = "GPU") -> list[str]:
    """The plan as a Korean table, line by line; with `memory_bytes` against the device's memory."""
    lines = [f"예상 메모리 (학습 파라미터 {plan.trainable_parameters / 1e6:,.1f} M)"]
    for name, label in PARTS_KO.items():
        chosen = "  ← 가장 큰 순간만 더합니다" if name == plan.peak_moment else ""
        lines.append(f"  {getattr(plan, name) / GIB:8.2f} GiB  {label}{chosen}")
    lines.append(f"  {plan.total / GIB:8.2f} GiB  합계")
    if memory_bytes is not None:
        share = plan.total / memory_bytes
        lines.append(f"  {memory_bytes / GIB:8.2f} GiB  {device}에서 쓸 수 있는 메모리 (합계는 그 {share:.0%})")
        if share > 1:
            lines.append(
                "  메모리가 모자랍니다. 배치나 프레임 수를 줄이거나, 그래디언트 체크포인팅 또는 qlora를 쓰세요."
            )
    return lines


def _check(*, kind: str, four_bit: bool, dtype: str, stage: str, batch_size: int, length: int) -> None:
    if kind == "full" and four_bit and stage == "caption":
        raise ValueError(
            "kind is 'full' with four_bit=True; 4-bit weights cannot be trained. Use 'qlora', or four_bit=False."
        )
    if kind in ("qlora", "qdora") and not four_bit:
        raise ValueError(f"kind is {kind!r} with four_bit=False; set four_bit=True, or use {kind[1:]!r}.")
    if dtype not in DTYPE_BYTES:
        raise ValueError(f"dtype is {dtype!r}; it must be one of {', '.join(DTYPE_BYTES)}.")
    if batch_size < 1 or length < 1:
        raise ValueError(f"batch_size is {batch_size} and sequence_length {length}; both must be >= 1.")


def _frozen_bytes(counts: ParameterCounts, trains: str | None, compute: int, four_bit: bool) -> int:
    if trains == "full":
        return counts.vision * compute
    frozen = counts.vision + (counts.projector if trains else 0)
    linears = counts.linears * (NF4_BYTES if four_bit else compute)
    return round((frozen + counts.embeddings + counts.others) * compute + linears)


def _weight_products(counts: ParameterCounts, config: KoCapConfig, trains: str | None, compute: int) -> int:
    """Kept weight-sized tensors of one layer: WaveFT builds each weight's change anew, keeps it and its sub-bands."""
    if trains != "wavelet":
        return 0
    return 2 * compute * sum(a * b for a, b in counts.adapted) // config.text_config.num_hidden_layers


def _transient_weights(counts: ParameterCounts, trains: str | None, compute: int, four_bit: bool) -> int:
    """Weight-sized tensors that live within one linear layer's pass.

    bitsandbytes dequantises a whole weight. PEFT's DoRA, to norm the changed weight, makes an identity matrix of the
    layer's input width, the product of both low-rank factors, and their sum with the weight, all in float32.
    """
    largest = max((a * b for a, b in counts.adapted), default=0)
    transient = compute * largest if four_bit else 0
    if trains in ("dora", "qdora"):
        transient += max((4 * inputs * inputs + 16 * inputs * outputs for inputs, outputs in counts.adapted), default=0)
    return transient + (16 * largest if trains == "wavelet" else 0)


def _projector_activations(config: KoCapConfig, stage: str, frames: int, compute: int, image_size: int | None) -> int:
    if stage != "align":
        return 0
    hidden = config.text_config.hidden_size
    per_token = config.vision_hidden_size + (2 * hidden if config.projector_type == "mlp" else 0)
    per_token += 3 * config.vision_hidden_size if config.motion else 0
    return frames * count_tokens_per_frame(config, image_size) * per_token * compute


def _vision_forward(config: KoCapConfig, frames: int, compute: int, *, image_size: int | None) -> int:
    """One layer's inputs and outputs, as nothing waits for a backward pass; all layers' where an inner one is asked."""
    vision = config.vision_config
    side = image_size or vision.image_size
    width = config.vision_hidden_size
    inner = getattr(vision, "intermediate_size", 4 * width) * (3 if getattr(vision, "use_gated_mlp", False) else 2)
    layers = 0 if config.vision_feature_layer == -1 else getattr(vision, "num_hidden_layers", 0) + 1
    patches = (side // getattr(vision, "patch_size", 16)) ** 2
    pixels = frames * 3 * side * side * (4 + compute)
    return pixels + frames * patches * compute * (max(6 * width, 2 * width + inner) + layers * width)


def count_tokens_per_frame(config: KoCapConfig, image_size: int | None = None) -> int:
    """Placeholders of one square frame, by arithmetic: what `KoCapModel.count_frame_tokens` measures."""
    side = (image_size or config.vision_config.image_size) // config.vision_config.patch_size
    return (-(-side // config.spatial_pool_stride)) ** 2
