"""Find clips that show nearly the same: re-encoded, rescaled, or cut a little differently.

The thresholds come from benchmarks/near_duplicates.py: variants of real clips, and pairs of drawn scenes.
"""

import numpy as np

MAX_BITS = 8  # of 64 that may differ between two moments
MAX_COLOUR = 20.0  # mean difference of 0..255 colours; the same clip a little brighter is 15 away
BLOCK = 64  # clips compared with all others at once: about 100 MB for 10,000 clips


def near_duplicates(
    hashes: np.ndarray, colours: np.ndarray, *, max_bits: int = MAX_BITS, max_colour: float = MAX_COLOUR
) -> np.ndarray:
    """Find pairs of clips of which at least half of one's moments look like some moment of the other.

    Half, not all, because keyframes lie elsewhere in another encoding; half, not one, because of common title cards.
    Distances come from one matrix product of +-1 bits per block, so ten thousand clips take seconds.

    Args:
        hashes: uint64 `[N, T]`, see `clip_probing.fingerprint`.
        colours: `[N, T * C]`, which tell apart what has the same outlines.
    Returns:
        int64 `[P, 2]`, first < second.
    """
    count, moments = hashes.shape
    big_endian = hashes.astype(">u8").reshape(-1, 1).view(np.uint8)
    signs = np.unpackbits(big_endian, axis=1).astype(np.float32) * 2 - 1  # [N*T, 64]
    colours = colours.reshape(count, moments, -1).astype(np.float32)
    pairs = [np.empty((0, 2), np.int64)]
    for start in range(0, count, BLOCK):
        stop = min(start + BLOCK, count)
        products = signs[start * moments : stop * moments] @ signs[start * moments :].T
        close = (products >= 64 - 2 * max_bits).reshape(stop - start, moments, count - start, moments)
        rows, columns = np.nonzero(_half(close.any(3), 1) | _half(close.any(1), 2))
        rows, columns = rows[columns > rows], columns[columns > rows]
        alike = close[rows, :, columns]  # [P, T, T]
        for moment in range(moments):
            far = np.abs(colours[start + rows] - colours[start + columns, moment, None]).mean(2)  # [P, T]
            alike[:, :, moment] &= far <= max_colour
        near = _half(alike.any(2), 1) | _half(alike.any(1), 1)
        pairs.append(np.stack([rows[near] + start, columns[near] + start], 1).astype(np.int64))
    return np.concatenate(pairs)


def _half(found: np.ndarray, axis: int) -> np.ndarray:
    return 2 * found.sum(axis) >= found.shape[axis]


def hash_array(hashes: list[tuple[str, ...]]) -> np.ndarray:
    """Hexadecimal hashes of N clips as uint64 `[N, T]`."""
    return np.array([[int(value, 16) for value in row] for row in hashes], np.uint64).reshape(len(hashes), -1)
