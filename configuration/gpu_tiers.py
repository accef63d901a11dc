"""Presets by the GPU one has: backbones, adapter and settings whose memory plan fits with a margin.

Backbones, adapters, ranks and dtypes are those of the project's planning; frames, sizes and lengths follow from the
captions' lengths, batch sizes from configuration/memory_plan.py.
"""

from dataclasses import dataclass, field
from typing import Any

from .activation_memory import AdapterKind
from .backbone_shapes import backbone_config
from .configuration_kocap import KoCapConfig
from .memory_plan import GIB, Dtype, MemoryPlan, Optimizer, Stage, count_tokens_per_frame, plan_memory

# AI-Hub 71849's captions take 311-711 Qwen3 tokens; the longest, its end and some air.
CAPTION_TOKENS = 768
# System and user turn in ChatML with vision marks and an empty thought: about 60 tokens with Qwen3's tokenizer.
PROMPT_TOKENS = 96
# A time stamp such as `<13.2초>` before every frame, where the processor writes them.
TIMESTAMP_TOKENS = 8
# All tiers take the same step: 535 steps an epoch on the data set's 8,563 training clips.
EFFECTIVE_BATCH_SIZE = 16
# A plan may fill so much of the memory. The rest is for what it does not know: a driver's own share, a longer caption,
# the collapse watch's generation, another torch version's kernels.
MEMORY_SHARE = 0.9


@dataclass(frozen=True)
class GpuTier:
    """Everything a preset settles.

    Args:
        name: The preset's name.
        device: The device it is for, in words.
        memory_bytes: What torch can use of the device's memory: less than the number on the box.
        vision: Hub id of the vision encoder.
        text: Hub id of the language model.
        kind: What stage `caption` trains; see training/adapters.py.
        rank: The adapter's rank; alpha is twice as much.
        dtype: Of weights and computation.
        four_bit: Load the language model's linear layers in NF4.
        num_frames: Frames per clip.
        image_size: Side of a frame in pixels.
        batch_size: Clips per step on the device. A feature cache saves time and little memory.
        sequence_length: Tokens per sample; longer ones are an error, not cut, because placeholders would be lost.
        gradient_checkpointing: Of the language model. Costs one more forward pass, saves most activations.
        spatial_pool_stride: Pooling of a frame's patches per side before the projector.
        vision_feature_layer: As in KoCapConfig.
        align_learning_rate: Peak of stage `align`: the fresh projector alone (LLaVA-1.5).
        caption_learning_rate: Peak of stage `caption`.
        warmup_ratio: Share of the steps in which the learning rate rises.
        lr_scheduler_type: How it falls.
        max_grad_norm: Gradients are clipped to this norm.
        optimizer: transformers' name of the optimizer.
    Raises:
        ValueError: If a clip with its prompt and caption is longer than `sequence_length`, the batch size does not
            divide the common effective one, or a frame's side is not made of whole patches.
    """

    name: str
    device: str
    memory_bytes: int
    vision: str
    text: str
    kind: AdapterKind
    rank: int
    dtype: Dtype
    four_bit: bool
    num_frames: int
    image_size: int
    batch_size: int
    sequence_length: int
    gradient_checkpointing: bool = True
    spatial_pool_stride: int = 2
    vision_feature_layer: int = -1
    align_learning_rate: float = 1e-3
    caption_learning_rate: float = 5e-5
    warmup_ratio: float = 0.1
    lr_scheduler_type: str = "cosine"
    max_grad_norm: float = 1.0
    # 8-bit states would save 6 of an adapter parameter's 18 bytes: 3 GiB at most (H100), at another risk.
    optimizer: Optimizer = "adamw_torch"
    tokens_per_frame: int = field(init=False)

    def __post_init__(self):
        object.__setattr__(self, "tokens_per_frame", count_tokens_per_frame(self.model_config(), self.image_size))
        if self.needed_tokens > self.sequence_length:
            raise ValueError(
                f"{self.name}: sequence_length is {self.sequence_length}, but {self.num_frames} frames of"
                f" {self.tokens_per_frame} tokens, prompt and caption take {self.needed_tokens}. Raise it, or take"
                " fewer frames or a larger spatial_pool_stride."
            )
        if EFFECTIVE_BATCH_SIZE % self.batch_size:
            raise ValueError(
                f"{self.name}: batch_size is {self.batch_size}; it must divide {EFFECTIVE_BATCH_SIZE}, the clips per"
                " optimizer step of every tier."
            )

    @property
    def needed_tokens(self) -> int:
        """Tokens of a sample with the longest caption."""
        return self.num_frames * (self.tokens_per_frame + TIMESTAMP_TOKENS) + PROMPT_TOKENS + CAPTION_TOKENS

    @property
    def gradient_accumulation_steps(self) -> int:
        return EFFECTIVE_BATCH_SIZE // self.batch_size

    def model_config(self) -> KoCapConfig:
        """The model's config from the backbones' known shapes, nothing downloaded."""
        text_config = backbone_config(self.text)
        # A tokenizer without vision tokens of its own (Vicuna's) gets two: `from_backbones` adds them at the end.
        ids = {} if text_config.vocab_size > 151_656 else {"image_token_id": 31_998, "video_token_id": 31_999}
        return KoCapConfig(
            vision_config=backbone_config(self.vision),
            text_config=text_config,
            **ids,
            spatial_pool_stride=self.spatial_pool_stride,
            vision_feature_layer=self.vision_feature_layer,
        )

    def plan(self, config: KoCapConfig | None = None, *, stage: Stage = "caption", **changes: Any) -> MemoryPlan:
        """The memory that a step needs, of this preset's model or another; `changes` are `plan_memory`'s arguments."""
        settings = {
            "kind": self.kind,
            "rank": self.rank,
            "dtype": self.dtype,
            "four_bit": self.four_bit,
            "batch_size": self.batch_size,
            "sequence_length": self.sequence_length,
            "frames": self.num_frames,
            "gradient_checkpointing": self.gradient_checkpointing,
            "image_size": self.image_size,
            "optimizer": self.optimizer,
            "logit_positions": CAPTION_TOKENS + 1,  # training/trainer.py asks for no others
        }
        return plan_memory(config or self.model_config(), stage=stage, **(settings | changes))


TIERS: dict[str, GpuTier] = {
    tier.name: tier
    for tier in (
        GpuTier(
            name="cpu",
            device="CPU, 16 GB RAM",
            memory_bytes=12 * GIB,  # the system and a browser take the rest
            vision="google/siglip2-base-patch16-224",
            text="Qwen/Qwen3-0.6B",
            kind="lora",
            rank=8,
            dtype="float32",  # bfloat16 without AMX or AVX512-BF16 is far slower than float32
            four_bit=False,  # 0.6 B need no more than 2.2 GiB, and dequantising is slow on a CPU
            num_frames=8,
            image_size=224,
            batch_size=1,  # four fit, but a CPU gains nothing from them: the arithmetic is the same
            sequence_length=1344,
        ),
        GpuTier(
            name="t4",
            device="T4 16 GB",
            memory_bytes=int(14.56 * GIB),  # torch's "total capacity" with ECC on
            vision="openai/clip-vit-large-patch14-336",
            text="Qwen/Qwen3-4B-Instruct-2507",
            kind="qlora",
            rank=8,
            dtype="float16",  # Turing has no bfloat16
            four_bit=True,
            num_frames=8,
            image_size=336,
            batch_size=4,
            sequence_length=2112,
            vision_feature_layer=-2,  # CLIP's last layer serves its pooled output (LLaVA)
        ),
        GpuTier(
            name="l4",
            device="L4 24 GB",
            memory_bytes=int(22.03 * GIB),
            vision="google/siglip2-so400m-patch14-384",
            text="Qwen/Qwen3-8B",
            kind="qlora",
            rank=16,
            dtype="bfloat16",
            four_bit=True,
            num_frames=8,
            image_size=384,
            batch_size=4,
            sequence_length=2560,
        ),
        GpuTier(
            name="a100",
            device="A100 40 GB",
            memory_bytes=int(39.38 * GIB),
            vision="facebook/dinov3-vitl16-pretrain-lvd1689m",
            text="Qwen/Qwen3-14B",
            # 27.5 GiB of bfloat16 weights leave room for one clip of 16 frames (86 %).
            kind="lora",
            rank=32,
            dtype="bfloat16",
            four_bit=False,
            num_frames=16,
            image_size=384,
            batch_size=1,
            sequence_length=3328,
        ),
        GpuTier(
            name="h100",
            device="H100 80 GB",
            memory_bytes=int(79.1 * GIB),
            vision="facebook/dinov3-vith16plus-pretrain-lvd1689m",
            text="Qwen/Qwen3-32B",
            # `lora` on 61 GiB of bfloat16 weights takes 96 % of the memory at batch 1.
            kind="qlora",
            rank=64,
            dtype="bfloat16",
            four_bit=True,
            num_frames=16,
            image_size=384,
            batch_size=8,
            sequence_length=3328,
        ),
    )
}
