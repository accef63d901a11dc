"""Presets: shapes are the real ones, samples fit their length, plans fit their device."""

import dataclasses

import pytest
import torch

from configuration.backbone_shapes import backbone_config, list_backbones
from configuration.configuration_kocap import KoCapConfig
from configuration.gpu_tiers import CAPTION_TOKENS, EFFECTIVE_BATCH_SIZE, MEMORY_SHARE, TIERS
from configuration.parameter_counts import count_parameters
from modeling.modeling_kocap import KoCapModel
from tests.small_models import text_config

# In millions. The round numbers are published: Qwen3 0.6, 1.7, 4.0, 8.2, 14.8, 32.8, 30.5 B (technical report), LLaMA
# 6.7 B, CLIP's ViT-L/14 304 M, SigLIP-so400m 428 M with the pooling head's 15.2 M, which is off here (base: 92.9 and
# 7.1), DINOv2 ViT-L 304 M, DINOv3 ViT-L 303 M and ViT-H+ 841 M. The further digits pin our shapes.
PUBLISHED_MILLIONS = {
    "openai/clip-vit-large-patch14-336": 303.5,
    "google/siglip2-base-patch16-224": 85.8,
    "google/siglip2-so400m-patch14-384": 413.0,
    "facebook/dinov2-with-registers-large": 304.4,
    "facebook/dinov3-vitl16-pretrain-lvd1689m": 303.1,
    "facebook/dinov3-vith16plus-pretrain-lvd1689m": 840.6,
    "Qwen/Qwen3-0.6B": 596.0,
    "Qwen/Qwen3-1.7B": 1720.6,
    "Qwen/Qwen3-4B-Instruct-2507": 4022.5,
    "Qwen/Qwen3-8B": 8190.7,
    "Qwen/Qwen3-14B": 14768.3,
    "Qwen/Qwen3-32B": 32762.1,
    "Qwen/Qwen3-30B-A3B-Instruct-2507": 30532.1,
    "lmsys/vicuna-7b-v1.5": 6738.4,
}


@pytest.mark.parametrize("hub_id", list_backbones())
def test_every_shape_has_the_published_number_of_parameters(hub_id):
    assert count_parameters(backbone_config(hub_id)) / 1e6 == pytest.approx(PUBLISHED_MILLIONS[hub_id], rel=5e-4)


def test_an_unknown_backbone_is_named_with_the_way_out():
    with pytest.raises(ValueError, match=r"Qwen3-8B-Instruct.*AutoConfig"):
        backbone_config("Qwen/Qwen3-8B-Instruct")


def test_a_config_is_fresh_every_time():
    backbone_config("Qwen/Qwen3-8B").num_hidden_layers = 1
    assert backbone_config("Qwen/Qwen3-8B").num_hidden_layers == 36


@pytest.mark.parametrize("tier", TIERS.values(), ids=TIERS)
def test_a_frame_has_as_many_tokens_as_the_model_gives_it(tier):
    wanted = tier.model_config()
    wanted.vision_config.num_hidden_layers = 1  # depth makes no tokens, and takes time
    config = KoCapConfig(
        vision_config=wanted.vision_config,
        text_config=text_config(),
        spatial_pool_stride=wanted.spatial_pool_stride,
        image_token_id=120,
        video_token_id=121,
    )
    with torch.device("meta"):
        model = KoCapModel(config)
        assert model.count_frame_tokens(tier.image_size) == tier.tokens_per_frame


@pytest.mark.parametrize("tier", TIERS.values(), ids=TIERS)
def test_the_longest_caption_fits_after_all_frames(tier):
    # 711 tokens and the end of the turn; prompt and time stamps are counted apart.
    assert CAPTION_TOKENS > 711
    assert tier.num_frames * tier.tokens_per_frame + CAPTION_TOKENS < tier.needed_tokens <= tier.sequence_length
    assert tier.sequence_length < tier.model_config().text_config.max_position_embeddings


@pytest.mark.parametrize("tier", TIERS.values(), ids=TIERS)
@pytest.mark.parametrize("stage", ["align", "caption"])
def test_a_preset_fits_its_device_with_the_margin(tier, stage):
    assert tier.plan(stage=stage).total <= MEMORY_SHARE * tier.memory_bytes


@pytest.mark.parametrize("tier", [TIERS[name] for name in ("t4", "l4", "a100", "h100")], ids=lambda tier: tier.name)
def test_the_batch_is_the_largest_that_fits(tier):
    assert tier.plan(batch_size=2 * tier.batch_size).total > MEMORY_SHARE * tier.memory_bytes


def test_a_32b_model_in_16_bits_leaves_no_margin_on_an_h100():
    # Why the preset is 4-bit.
    tier = TIERS["h100"]
    assert tier.plan(kind="lora", four_bit=False, batch_size=1).total > MEMORY_SHARE * tier.memory_bytes


@pytest.mark.parametrize("tier", TIERS.values(), ids=TIERS)
def test_every_tier_takes_the_same_optimizer_step(tier):
    assert tier.batch_size * tier.gradient_accumulation_steps == EFFECTIVE_BATCH_SIZE
    assert (tier.align_learning_rate, tier.caption_learning_rate) == (1e-3, 5e-5)


def test_a_sequence_that_cannot_hold_a_caption_is_refused():
    with pytest.raises(ValueError, match=r"sequence_length is 1024.*2080.*fewer frames"):
        dataclasses.replace(TIERS["t4"], sequence_length=1024)


def test_a_batch_that_does_not_divide_the_effective_one_is_refused():
    with pytest.raises(ValueError, match="batch_size is 3"):
        dataclasses.replace(TIERS["t4"], batch_size=3)
