"""How much memory a run has taken at most."""

import resource

import torch


def reset_peak_memory() -> None:
    """Begin to watch anew, where that is possible: on a GPU."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak_memory_bytes() -> int:
    """The most that tensors took on the GPU; without one, the most that this process ever had in memory.

    The latter counts Python, its libraries and whatever ran before.
    """
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB
