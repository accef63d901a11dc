"""From vision tokens to the language model's width: selection, spatial pooling, projection."""

import math

import torch
from torch import nn


def patch_grid(tokens: torch.Tensor, pixel_values: torch.Tensor, patch_size: int | None) -> tuple[int, int]:
    """The `(h, w)` of an encoder's patches; staged encoders have no patch size, and then the grid is a square."""
    if patch_size is None:
        side = math.isqrt(tokens.shape[1])
        return side, side
    return pixel_values.shape[2] // patch_size, pixel_values.shape[3] // patch_size


def select_patches(tokens: torch.Tensor, grid: tuple[int, int]) -> torch.Tensor:
    """Drop class and register tokens: whatever stands before the `h*w` patches.

    Args:
        tokens: `[B, P + h*w, D]`.
        grid: `(h, w)`, the patch grid.
    Returns:
        `[B, h*w, D]`.
    Raises:
        ValueError: If there are fewer tokens than patches.
    """
    num_patches = grid[0] * grid[1]
    if tokens.shape[1] < num_patches:
        raise ValueError(
            f"the vision encoder gave {tokens.shape[1]} tokens for a {grid[0]}x{grid[1]} grid of {num_patches} patches."
            " Its pixel values and its config's patch_size disagree."
        )
    return tokens[:, tokens.shape[1] - num_patches :]


def pool_grid(tokens: torch.Tensor, grid: tuple[int, int], *, stride: int, mode: str) -> torch.Tensor:
    """Pool a patch grid by `stride` per side; odd edges keep a (smaller) window of their own.

    Args:
        tokens: `[B, h*w, D]`.
        grid: `(h, w)`.
        stride: Pooling factor per side, 1 for none.
        mode: `average`, `max` or `bilinear`.
    Returns:
        `[B, ceil(h/stride) * ceil(w/stride), D]`.
    Source: LLaVA-NeXT-Video (stride 2), LLaVA-OneVision (bilinear).
    """
    if stride == 1:
        return tokens
    feature_map = tokens.transpose(1, 2).unflatten(2, grid)  # [B, D, h, w]
    if mode == "average":
        pooled = nn.functional.avg_pool2d(feature_map, stride, ceil_mode=True)
    elif mode == "max":
        pooled = nn.functional.max_pool2d(feature_map, stride, ceil_mode=True)
    else:
        size = [-(-side // stride) for side in grid]
        pooled = nn.functional.interpolate(feature_map, size=size, mode="bilinear")
    return pooled.flatten(2).transpose(1, 2)


class Projector(nn.Sequential):
    """`[..., D_vision] -> [..., D_text]`: one linear layer, or linear-GELU-linear (LLaVA-1.5)."""

    def __init__(self, vision_hidden_size: int, text_hidden_size: int, *, projector_type: str):
        layers: list[nn.Module] = [nn.Linear(vision_hidden_size, text_hidden_size)]
        if projector_type == "mlp":
            layers += [nn.GELU(), nn.Linear(text_hidden_size, text_hidden_size)]
        super().__init__(*layers)


class ZeroLinear(nn.Linear):
    """A linear layer that gives zeros until it has learned something."""

    def reset_parameters(self) -> None:
        nn.init.zeros_(self.weight)


class Motion(nn.Module):
    """Adds to every video token a learned function of what changed at its place.

    A language model can compare frames by itself, but must first learn to look at one place in two of them. The
    difference says it outright. Its nearest kin is temporal difference (TDN, Wang et al. 2021). It begins as nothing,
    so a model that gets it later is at first unchanged.

    Args:
        hidden_size: D_vision.
    """

    def __init__(self, hidden_size: int):
        super().__init__()
        self.change = ZeroLinear(2 * hidden_size, hidden_size, bias=False)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """`[V, T, N, D] -> [V, T, N, D]`; no frame looks at later ones, so padding at the end changes nothing."""
        since_last = torch.cat([torch.zeros_like(features[:, :1]), features[:, 1:] - features[:, :-1]], dim=1)
        since_first = features - features[:, :1]
        return features + self.change(torch.cat([since_last, since_first], dim=-1))
