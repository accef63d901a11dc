"""How many threads one clip may take, whatever the machine shows: by usable cores, size of pictures, address space."""

import math
import mmap
import os
from pathlib import Path
from typing import Any

try:  # Windows has neither this nor limits of address space
    import resource
except ImportError:
    resource: Any = None

MAX_THREADS = 16  # of all decoders of one clip; FFmpeg advises against more
MAX_SCALING_THREADS = 4
THREAD_BYTES = 150_000_000  # pictures and stacks of all decoding threads of one clip, about
THREAD_SHARE = 8  # and at most one part in so many of a limited address space
STACK_BYTES = 8 << 20
HELD_BY_THREAD = 1.5  # pictures
ENOUGH_BYTES = 256 << 20  # for any header or packet; who asks for more although there is so much is damaged


def usable_cores(cgroups: Path = Path("/sys/fs/cgroup"), membership: Path = Path("/proc/self/cgroup")) -> int:
    """Cores that this process may use: of its affinity, as many as the processor quotas of its cgroups are worth.

    Args:
        cgroups: Where cgroup file systems are mounted.
        membership: Which cgroups the process is in, in the kernel's form.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return cores
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = cgroups / controllers  # version 1 mounts each controller, version 2 all of them at the root
        inner = root / path.lstrip("/")
        for folder in [inner, *inner.parents]:
            if not folder.is_relative_to(root):
                break
            cores = min(cores, _quota(folder) or cores)
    return max(1, cores)


def _quota(folder: Path) -> int:
    """Cores' worth of processor time that a cgroup may take, rounded up; 0 where nothing limits it."""
    for files in (("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")):
        try:
            quota, period, *_ = " ".join((folder / file).read_text() for file in files).split()
            return max(0, math.ceil(int(quota) / int(period)))
        except (OSError, ValueError, ZeroDivisionError):  # no such file; "max"
            continue
    return 0


CORES = usable_cores()  # before a process gives up the right to open files


def decoding_threads(picture_bytes: int, *, most: int, decoders: int = 1) -> int:
    """For each of so many decoders, so that the pictures they hold fit.

    Args:
        most: For all of them together.
    """
    budget = min(THREAD_BYTES, (_address_space() or math.inf) // THREAD_SHARE)
    fitting = int(budget // (STACK_BYTES + HELD_BY_THREAD * picture_bytes))
    return max(1, min(most, fitting) // decoders)


def scaling_threads(most: int, decoders: int = 1) -> int:
    """For each of so many decoders' pictures."""
    return max(1, min(most // decoders, MAX_SCALING_THREADS))


def fits(num_bytes: int) -> bool:
    """Whether this process could have so many bytes more."""
    try:
        mmap.mmap(-1, max(num_bytes, mmap.PAGESIZE)).close()
    except (OSError, MemoryError):
        return False
    return True


def _address_space() -> int:
    """Bytes that this process may address; 0 where nothing limits it."""
    if resource is None:
        return 0
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    return 0 if limit == resource.RLIM_INFINITY else limit
