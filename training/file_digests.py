"""Which content a file has: its sha256, remembered while path, size and time of change stay the same."""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from configuration.disk_writing import DiskError, writing
from processing.video_limits_kocap import Limits
from processing.video_opening_kocap import open_source


class FileDigests:
    """Digests of files, remembered in a .jsonl file.

    Every line is written at once, so several processes may append; a line that a kill left unfinished is read over and
    costs one digest.

    Args:
        memory: The .jsonl file; made when there is something to remember.
    """

    def __init__(self, memory: Path):
        self._memory = memory
        self._known: dict[str, tuple[int, int, str]] = {}
        self.refresh()

    def refresh(self) -> None:
        """Read what other processes have written."""
        if not self._memory.exists():
            return
        for line in self._memory.read_bytes().splitlines():
            try:
                row = json.loads(line)
                self._known[row["path"]] = (row["size_bytes"], row["mtime_ns"], row["sha256"])
            except (ValueError, KeyError, TypeError):
                continue

    def digest(self, path: str | os.PathLike) -> str:
        """sha256 of a file's content as 64 hexadecimal digits.

        Raises:
            VideoError: If it is missing, empty or not a regular file.
            OSError: If it cannot be read.
        """
        name = os.path.abspath(path)
        if (known := self._known.get(name)) and known[:2] == _state(os.stat(name)):
            return known[2]
        with open_source(name, Limits()) as file:
            before = _state(os.fstat(file.fileno()))
            digest = hashlib.file_digest(file, "sha256").hexdigest()  # pyright: ignore[reportArgumentType]
            if _state(os.fstat(file.fileno())) == before:  # not being written just now
                self._remember(name, *before, digest)
        return digest

    def learn(
        self,
        paths: Sequence[str],
        *,
        workers: int,
        progress: Callable[[Iterable[str]], Iterable[str]] = iter,
    ) -> None:
        """Compute what is not known yet side by side; files that cannot be read are passed over."""
        new = [path for path in dict.fromkeys(paths) if not self._is_known(path)]
        if not new:
            return
        with ThreadPoolExecutor(max(1, workers)) as pool:  # hashing and reading let other threads run
            tried = pool.map(self._try, new)
            for _ in progress(new):
                next(tried)

    def _try(self, path: str) -> None:
        try:
            self.digest(path)
        except DiskError:
            raise
        except (OSError, ValueError):
            return

    def _is_known(self, path: str) -> bool:
        name = os.path.abspath(path)
        try:
            return name in self._known and self._known[name][:2] == _state(os.stat(name))
        except OSError:
            return False

    def _remember(self, path: str, size_bytes: int, mtime_ns: int, sha256: str) -> None:
        self._known[path] = (size_bytes, mtime_ns, sha256)
        row = {"path": path, "size_bytes": size_bytes, "mtime_ns": mtime_ns, "sha256": sha256}
        with writing(self._memory, "digests"):
            self._memory.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(self._memory, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                os.write(file, f"\n{json.dumps(row)}\n".encode())  # in front: ends a line that a kill left open
            finally:
                os.close(file)


def _state(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns
