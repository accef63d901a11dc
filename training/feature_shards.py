"""Tensors by name in a folder of safetensors files, which several processes may read and add to at once."""

import logging
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from configuration.disk_writing import DiskError, finish_file, writing

logger = logging.getLogger(__name__)

STALE_S = 3600.0  # an unfinished file that nobody has touched for so long was left by a kill


class FeatureShards:
    """Finished files only: a shard appears under its name once it is whole and on disk.

    Reading maps files into memory, one handle per shard and process; forked and spawned processes open their own.

    Args:
        folder: Made if need be.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        with writing(folder, "vision features"):
            folder.mkdir(parents=True, exist_ok=True)
        self._shards: dict[str, frozenset[str]] = {}  # file name -> tensors' names
        self._places: dict[str, str] = {}  # tensor's name -> file name
        self._handles, self._process = {}, os.getpid()
        self._remove_stale()
        self.refresh()

    def __getstate__(self) -> dict:
        return self.__dict__ | {"_handles": {}}  # a handle does not cross to another process

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def refresh(self) -> None:
        """Look for shards that other processes have finished; set damaged ones aside, with a warning."""
        present = {path.name for path in self.folder.glob("*.safetensors")}
        for gone in self._shards.keys() - present:
            self._forget(gone)
        for name in sorted(present - self._shards.keys()):
            try:
                self._learn(name, frozenset(self._open(name).keys()))
            except SafetensorError as error:
                self._set_aside(name, error)
            except FileNotFoundError:
                continue  # another process has set it aside just now

    def get(self, name: str) -> torch.Tensor:
        """One tensor, on the CPU.

        Raises:
            KeyError: If there is none of that name.
        """
        return self._open(self._places[name]).get_tensor(name)

    def shape(self, name: str) -> tuple[int, ...]:
        """A tensor's shape, without reading it."""
        return tuple(self._open(self._places[name]).get_slice(name).get_shape())

    def write(self, tensors: dict[str, torch.Tensor]) -> Path:
        """Add a shard: written aside, forced to disk, and only then given its name."""
        name = f"{secrets.token_hex(8)}.safetensors"
        path, unfinished = self.folder / name, self.folder / f"{name}.part"
        try:
            with writing(self.folder, "vision features", needed_bytes=sum(item.nbytes for item in tensors.values())):
                save_file(tensors, unfinished)
                finish_file(unfinished, path)
        except DiskError:
            unfinished.unlink(missing_ok=True)
            raise
        self._learn(name, frozenset(tensors))
        return path

    def _open(self, name: str):
        if self._process != os.getpid():
            self._handles, self._process = {}, os.getpid()
        if name not in self._handles:
            self._handles[name] = safe_open(self.folder / name, framework="pt", device="cpu")
        return self._handles[name]

    def _learn(self, shard: str, names: frozenset[str]) -> None:
        self._shards[shard] = names
        for name in names:
            self._places.setdefault(name, shard)

    def _forget(self, shard: str) -> None:
        self._handles.pop(shard, None)
        names = self._shards.pop(shard)
        for name in names:
            if self._places.get(name) == shard:
                del self._places[name]
                for other, held in self._shards.items():  # two processes may have written the same
                    if name in held:
                        self._places[name] = other
                        break

    def _set_aside(self, name: str, error: Exception) -> None:
        path = self.folder / name
        logger.warning("%s is damaged (%s); it is set aside as .damaged, and its clips are computed again", path, error)
        try:
            path.rename(path.with_suffix(".damaged"))
        except FileNotFoundError:
            return

    def _remove_stale(self) -> None:
        for path in self.folder.glob("*.part"):
            try:
                if time.time() - path.stat().st_mtime > STALE_S:
                    path.unlink()
            except FileNotFoundError:
                continue
