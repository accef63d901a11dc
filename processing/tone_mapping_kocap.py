"""Show HDR on an SDR screen: PQ and HLG code values become the 8-bit ones an ordinary video would carry.

Code value -> light in nits -> BT.709 primaries -> tone curve -> BT.1886 code value. Up to 88 nits nothing changes but
the coding; above, highlights are pressed together, so that 1000 nits become SDR white (255) and HDR reference white
(203 nits: paper, a white shirt) becomes 231. Light above 1000 nits is cut, as are colours that BT.709 lacks.

Sources: ITU-R BT.2100-2 (PQ, HLG, system gamma), BT.2407 (primaries), BT.2408 (reference white), BT.2390-8 section
5.4.1 (tone curve, "EETF"), BT.1886 (SDR display).
"""

import functools

import numpy as np
from av.video.reformatter import ColorPrimaries, ColorTrc

HDR_TRANSFERS = (ColorTrc.SMPTE2084, ColorTrc.ARIB_STD_B67)
REFERENCE_WHITE_NITS = 203.0  # BT.2408: what SDR white corresponds to
PEAK_NITS = 1000.0  # what HDR is commonly graded for, and the nominal display of HLG
PQ_M1, PQ_M2 = 2610 / 16384, 2523 / 4096 * 128
PQ_C1, PQ_C2, PQ_C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
HLG_A = 0.17883277
HLG_B, HLG_C = 1 - 4 * HLG_A, 0.5 - HLG_A * np.log(4 * HLG_A)
SDR_GAMMA = 2.4  # BT.1886
HLG_GAMMA = 1.2  # BT.2100, for a display of 1000 nits

BT2020_LUMA = np.array([0.2627, 0.6780, 0.0593], np.float32)
BT2020_TO_BT709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
)
PIXELS_AT_ONCE = 1 << 16  # bounds what float32 takes, and stays in the processor's cache


def tone_map(image: np.ndarray, transfer: int, primaries: int) -> np.ndarray:
    """Turn HDR pictures into SDR ones.

    Args:
        image: uint16 `[H, W, 3]`, full-range RGB code values.
        transfer: One of `HDR_TRANSFERS`.
        primaries: BT.2020 is taken for granted unless this says BT.709.
    Returns:
        uint8 `[H, W, 3]`.
    """
    shown = np.empty(image.shape, np.uint8)
    rows = max(1, PIXELS_AT_ONCE // image.shape[1])
    for top in range(0, len(image), rows):
        light = _light_table(transfer)[image[top : top + rows]]  # [rows, W, 3], 1 is REFERENCE_WHITE_NITS
        if transfer == ColorTrc.ARIB_STD_B67:  # the table gives scene light, 1 at the display's peak
            scene = light @ BT2020_LUMA
            light *= (PEAK_NITS / REFERENCE_WHITE_NITS) * scene[..., None] ** (HLG_GAMMA - 1)
        if primaries != ColorPrimaries.BT709:
            light = light @ BT2020_TO_BT709.T
        np.maximum(light, 0.0, out=light)
        # one factor for all three, read off the brightest, keeps the hue and never overflows
        light *= _gain(light.max(axis=-1))[..., None]
        np.power(light, 1 / SDR_GAMMA, out=light)
        shown[top : top + rows] = np.minimum(light * 255 + 0.5, 255)
    return shown


def pq_to_nits(code: np.ndarray) -> np.ndarray:
    """Light that a PQ code value in `[0, 1]` stands for (BT.2100 table 4)."""
    root = np.asarray(code, np.float64) ** (1 / PQ_M2)
    return 10_000 * (np.maximum(root - PQ_C1, 0) / (PQ_C2 - PQ_C3 * root)) ** (1 / PQ_M1)


def nits_to_pq(nits: np.ndarray) -> np.ndarray:
    """Inverse of `pq_to_nits`."""
    power = (np.asarray(nits, np.float64) / 10_000) ** PQ_M1
    return ((PQ_C1 + PQ_C2 * power) / (1 + PQ_C3 * power)) ** PQ_M2


def compress_nits(nits: np.ndarray) -> np.ndarray:
    """The tone curve (BT.2390 EETF, black stays black): from `[0, PEAK_NITS]` to `[0, REFERENCE_WHITE_NITS]`."""
    source_peak, target_peak = nits_to_pq(np.array([PEAK_NITS, REFERENCE_WHITE_NITS]))
    level, top = np.minimum(nits_to_pq(nits) / source_peak, 1), target_peak / source_peak
    knee = 1.5 * top - 0.5
    t = np.maximum(level - knee, 0) / (1 - knee)
    spline = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (-2 * t**3 + 3 * t**2) * top
    return pq_to_nits(np.where(level < knee, level, spline) * source_peak)


@functools.lru_cache(maxsize=2)
def _light_table(transfer: int) -> np.ndarray:
    """Light for each 16-bit code value, float32 `[65536]`."""
    code = np.arange(1 << 16) / ((1 << 16) - 1)
    if transfer == ColorTrc.SMPTE2084:
        table = pq_to_nits(code) / REFERENCE_WHITE_NITS
    else:
        table = np.where(code <= 0.5, code**2 / 3, (np.exp((code - HLG_C) / HLG_A) + HLG_B) / 12)
    table = table.astype(np.float32)
    table.setflags(write=False)  # shared between threads
    return table


def _gain(peak: np.ndarray) -> np.ndarray:
    """What `compress_nits` multiplies light of this brightness by, from a table over its fourth root."""
    table, step = _gain_table()
    return table[np.minimum(np.sqrt(np.sqrt(peak)) * (1 / step) + 0.5, len(table) - 1).astype(np.int32)]


@functools.lru_cache(maxsize=1)
def _gain_table() -> tuple[np.ndarray, float]:
    size = 1 << 13
    step = (2 * 10_000 / REFERENCE_WHITE_NITS) ** 0.25 / size  # 2: the change of primaries raises red by 1.66
    light = np.maximum(np.arange(size + 1) * step, step) ** 4
    table = (compress_nits(light * REFERENCE_WHITE_NITS) / REFERENCE_WHITE_NITS / light).astype(np.float32)
    table.setflags(write=False)
    return table, step
