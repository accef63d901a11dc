"""Find the shots of a clip in a few small pictures of it, and share frames out among them.

The change from one thumbnail to the next is the mean difference of hue, saturation and value, as in PySceneDetect's
ContentDetector, plus the same for coarse colour histograms, which camera motion hardly moves. As in its
AdaptiveDetector, a cut must stand out from the clip's usual change as well as be large in itself. Thumbnails lie far
apart, a second or more, so even one shot changes between them: hence the histogram and the higher floor.
"""

import itertools

import numpy as np

MIN_CHANGE = 0.15  # of 1: PySceneDetect's content threshold is 27 of 255 = 0.11, for frames that touch
MIN_RATIO = 3.0  # times the median change: PySceneDetect's adaptive_threshold
BINS = 4  # per colour, so 64 in the histogram


def find_cuts(thumbnails: np.ndarray, times_s: np.ndarray, duration_s: float) -> tuple[np.ndarray, np.ndarray]:
    """Find where one shot ends and the next begins.

    Args:
        thumbnails: uint8 `[K, 3, h, w]`, RGB.
        times_s: float64 `[K]`, seconds, ascending.
    Returns:
        Times of the cuts, float64 `[C]`, ascending, inside `(0, duration_s)`, and how large each change is, float64
        `[C]`. An encoder puts a keyframe on a cut, so a cut lies at the second of the two pictures.
    Raises:
        ValueError: If the arrays do not fit together.
    """
    times_s = np.asarray(times_s, np.float64)
    if thumbnails.ndim != 4 or thumbnails.shape[1] != 3 or times_s.shape != thumbnails.shape[:1]:
        raise ValueError(
            f"thumbnails are {list(thumbnails.shape)} and their times {list(times_s.shape)};"
            " they must be [K, 3, h, w] and [K]."
        )
    if not np.isfinite(times_s).all() or (np.diff(times_s) < 0).any():
        raise ValueError(f"times of thumbnails are {times_s}; they must be finite and ascending.")
    changes = measure_changes(thumbnails)
    # The median must be that of ordinary changes, so it needs some: among one or two, the floor alone decides.
    usual = float(np.median(changes)) if len(changes) > 2 else 0.0
    # A clip of cuts alone has a high median; what no camera does within a shot is a cut in any company.
    threshold = max(MIN_CHANGE, min(MIN_RATIO * usual, 2 * MIN_CHANGE))
    found = (changes > threshold) & (np.diff(times_s) > 0) & (times_s[1:] > 0) & (times_s[1:] < duration_s)
    return times_s[1:][found], changes[found]


def measure_changes(thumbnails: np.ndarray) -> np.ndarray:
    """How much each thumbnail differs from the one before, float64 `[K-1]`, 0 to 1."""
    if len(thumbnails) < 2:
        return np.zeros(0)
    looks = [(_hsv(image), _histogram(image)) for image in thumbnails]
    return np.array(
        [(_hsv_difference(a, b) + 0.5 * np.abs(p - q).sum()) / 2 for (a, p), (b, q) in itertools.pairwise(looks)]
    )


def _hsv(image: np.ndarray) -> np.ndarray:
    """Hue, saturation and value of `[3, h, w]`, float32, each 0 to 1."""
    red, green, blue = image.astype(np.float32) / 255
    value = np.maximum(np.maximum(red, green), blue)
    chroma = value - np.minimum(np.minimum(red, green), blue)
    safe = np.where(chroma > 0, chroma, 1)
    hue = np.select(
        [chroma == 0, value == red, value == green],
        [np.zeros_like(value), (green - blue) / safe % 6, (blue - red) / safe + 2],
        (red - green) / safe + 4,
    )
    return np.stack([hue / 6, chroma / np.where(value > 0, value, 1), value])


def _hsv_difference(a: np.ndarray, b: np.ndarray) -> float:
    difference = np.abs(a - b)
    difference[0] = 2 * np.minimum(difference[0], 1 - difference[0])  # hue is a circle
    # hue and saturation of dark or grey pixels are noise
    difference[0] *= np.minimum(a[1] * a[2], b[1] * b[2])
    difference[1] *= np.minimum(a[2], b[2])
    return float(difference.sum(axis=0).clip(max=1).mean())


def _histogram(image: np.ndarray) -> np.ndarray:
    """Share of pixels in each coarse colour, float64 `[BINS ** 3]`."""
    red, green, blue = image.astype(np.int32) * BINS // 256
    counts = np.bincount(((red * BINS + green) * BINS + blue).ravel(), minlength=BINS**3)
    return counts / counts.sum()


def allot_frames(
    cuts_s: np.ndarray, changes: np.ndarray, duration_s: float, num_frames: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Share frames out among the shots: one each, the rest by length.

    With more shots than frames only the largest changes count as cuts, so that every frame still has a shot.

    Returns:
        Start and end of each shot, float64 `[S]`, and how many frames it gets, int64 `[S]`, >= 1; S <= num_frames.
    """
    largest = np.sort(np.argsort(-changes, kind="stable")[: num_frames - 1])
    edges_s = np.concatenate([[0.0], cuts_s[largest], [duration_s]])
    lengths_s = np.diff(edges_s)
    counts = np.ones(len(lengths_s), np.int64)
    for _ in range(num_frames - len(counts)):
        counts[np.argmax(lengths_s / counts)] += 1  # where frames lie furthest apart
    return edges_s[:-1], edges_s[1:], counts
