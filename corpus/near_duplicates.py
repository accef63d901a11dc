"""Find clips that show nearly the same: re-encoded, rescaled, or cut a little differently."""

import numpy as np

MAX_BITS = 6  # of 64 that may differ per moment
MAX_COLOUR = 14.0  # mean difference of 0..255 colours
BLOCK = 64  # clips compared with all others at once: about 45 MB for 10,000 clips


def near_duplicates(hashes: np.ndarray, colours: np.ndarray, *, max_bits: int = MAX_BITS) -> np.ndarray:
    """Find pairs of clips of which one's every moment looks like some moment of the other.

    Distances come from one matrix product of +-1 bits per block, so ten thousand clips take seconds.

    Args:
        hashes: uint64 `[N, T]`, see `clip_probing.fingerprint`.
        colours: `[N, C]`, which tell apart what has the same outlines.
    Returns:
        int64 `[P, 2]`, first < second.
    """
    count, moments = hashes.shape
    big_endian = hashes.astype(">u8").reshape(-1, 1).view(np.uint8)
    signs = np.unpackbits(big_endian, axis=1).astype(np.float32) * 2 - 1  # [N*T, 64]
    colours = colours.astype(np.float32)
    pairs = [np.empty((0, 2), np.int64)]
    for start in range(0, count, BLOCK):
        stop = min(start + BLOCK, count)
        products = signs[start * moments : stop * moments] @ signs[start * moments :].T
        bits = (32 - products / 2).reshape(stop - start, moments, count - start, moments)
        there, back = bits.min(3).max(1), bits.min(1).max(2)  # [B, N - start]
        rows, columns = np.nonzero(np.minimum(there, back) <= max_bits)
        rows, columns = rows[columns > rows], columns[columns > rows]
        close = np.abs(colours[start + rows] - colours[start + columns]).mean(1) <= MAX_COLOUR
        pairs.append(np.stack([rows[close] + start, columns[close] + start], 1).astype(np.int64))
    return np.concatenate(pairs)


def hash_array(hashes: list[tuple[str, ...]]) -> np.ndarray:
    """Hexadecimal hashes of N clips as uint64 `[N, T]`."""
    return np.array([[int(value, 16) for value in row] for row in hashes], np.uint64).reshape(len(hashes), -1)
