"""Part d, *feature cache*: clips/s of every preset's encoder and of decoding, and what an epoch waits for.

The encoder is measured here, decoding where prepare.sh ran (PyAV is too large to travel): CPU seconds a clip, of which
16 cores do sixteen at once.
"""

import sys
from collections.abc import Iterator
from functools import partial

import torch
from baggage import find_baggage, load_decoding
from cells import Cell, Machine, run_part
from fast import timed
from fits import ORDER, small_config
from transformers import AutoModel

from configuration.configuration_kocap import KoCapConfig
from configuration.gpu_tiers import TIERS, GpuTier
from configuration.memory_plan import GIB
from modeling.modeling_kocap import KoCapModel

CLIPS = 8_563  # AI-Hub 71849's training clips
CORES = 16


@torch.inference_mode()
def encode(tier: GpuTier, machine: Machine) -> dict:
    """A preset's encoder on whole clips, as `FeatureCache.fill` gives them to it."""
    config: KoCapConfig = small_config() if machine.rehearse else tier.model_config()
    dtype = torch.float32 if machine.rehearse else getattr(torch, tier.dtype)
    size = 64 if machine.rehearse else tier.image_size
    with torch.device("meta"):
        model = KoCapModel(config)
    with torch.device(machine.device):
        model.vision_tower = AutoModel.from_config(config.vision_config).to(dtype).eval()
    clips = 1 if machine.rehearse else 4
    pixels = torch.rand(clips * tier.num_frames, 3, size, size, device=machine.device, dtype=dtype)
    features = model.encode_frames(pixels)
    seconds = timed(machine, lambda: model.encode_frames(pixels))
    clips_per_s = clips / seconds
    outcome = {
        "tier": tier.name,
        "vision": "small" if machine.rehearse else tier.vision,
        "frames": tier.num_frames,
        "clips_per_s": round(clips_per_s, 2),
        "epoch_encoding_s": round(CLIPS / clips_per_s, 1),
        "cache_gib": round(CLIPS * features.numel() // clips * 2 / GIB, 1),
    }
    decoding = load_decoding(find_baggage(machine))
    return outcome | {
        "decoding_cpu_s_per_clip": decoding["cpu_s_per_clip"],
        "decoding_frames": decoding["frames"],
        "epoch_decoding_s": round(CLIPS * decoding["cpu_s_per_clip"] / CORES, 1),
    }


def list_cells(machine: Machine) -> Iterator[Cell]:
    """One a preset."""
    for name in ORDER[-1:] if machine.rehearse else ORDER:
        yield Cell(name, partial(encode, TIERS[name], machine))


if __name__ == "__main__":
    sys.exit(run_part("features", list_cells))
