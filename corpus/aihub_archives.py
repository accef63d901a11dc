"""Zip files as aihubshell leaves them: in parts, with Korean names, and read without joining them on disk."""

import contextlib
import errno
import io
import os
import re
import shutil
import stat
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from configuration.disk_writing import LONGEST_NAME, DiskError, finish_file, partial_path, writing

from .aihub_errors import ArchiveError, Rejection, reject

PART = re.compile(r"(?P<name>.+\.zip)\.(?P<word>part)?(?P<number>\d+)", re.IGNORECASE)
VIDEO_SUFFIXES = {".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".ts"}
WANTED = VIDEO_SUFFIXES | {".json"}
UTF8_NAME = 0x800  # flag of a member whose name is UTF-8
ENCRYPTED = 0x1
MOST_PARTS = 10_000  # larger part numbers are byte offsets; aihubshell cuts at 1 GiB
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Archive:
    """One zip file.

    Attributes:
        name: As it would be called in one piece, relative to the source.
        parts: In the order of their bytes.
        numbers: The parts' numbers; empty for a zip in one piece.
    """

    name: str
    parts: tuple[Path, ...]
    numbers: tuple[int, ...] = ()


def find_archives(root: Path, files: list[Path]) -> list[Archive]:
    """Group zips and their parts; a zip in one piece wins over parts of the same name.

    Args:
        files: Everything under `root`, absolute.
    Raises:
        ArchiveError: If a part is missing between others, or twice there.
    """
    whole: dict[Path, Path] = {}
    split: dict[Path, dict[int, Path]] = {}
    for file in sorted(files):
        if file.suffix.lower() == ".zip":
            whole[file] = file
        elif found := PART.fullmatch(file.name):
            parts = split.setdefault(file.with_name(found["name"]), {})
            number = int(found["number"])
            if number in parts:
                raise ArchiveError(f"{parts[number]} and {file} are the same part. Delete one of them.")
            parts[number] = file
    archives = [Archive(_relative(path, root), (path,)) for path in whole]
    for path in sorted(split.keys() - whole.keys()):
        numbers = tuple(sorted(split[path]))
        parts = tuple(split[path][number] for number in numbers)
        _check_parts(numbers, parts)
        archives.append(Archive(_relative(path, root), parts, numbers))
    return sorted(archives, key=lambda archive: archive.name)


def _check_parts(numbers: tuple[int, ...], parts: tuple[Path, ...]) -> None:
    """Parts are counted from 0 or 1, or numbered by the byte they begin at."""
    sizes = [part.stat().st_size for part in parts]
    if _count_bytes(numbers):
        end = 0
        for k, (number, size) in enumerate(zip(numbers, sizes)):
            if number != end:
                before = f", or {parts[k - 1].name} was cut short" if k else ""
                raise ArchiveError(
                    f"{_sibling(parts[k], end)} is missing{before}: the next part there is {parts[k].name}."
                    f" Download it again into {parts[k].parent}."
                )
            end = number + size
        return
    expected = range(min(numbers[0], 1), min(numbers[0], 1) + len(numbers))
    for number, wanted in zip(numbers, expected):
        if number != wanted:
            raise ArchiveError(
                f"{_sibling(parts[0], wanted)} is missing, but {_sibling(parts[0], number)} is there."
                f" Download it into {parts[0].parent}."
            )
    for part, size in zip(parts[:-1], sizes):
        if size != sizes[0]:
            raise ArchiveError(
                f"{part.name} is {size} bytes long; every part but the last is {sizes[0]}. Download it again."
            )


def _count_bytes(numbers: tuple[int, ...]) -> bool:
    """Whether the numbers are byte offsets rather than a count of parts."""
    return max(numbers) >= MOST_PARTS


def _sibling(part: Path, number: int) -> str:
    """The name of the part with that number."""
    found = PART.fullmatch(part.name)
    assert found
    width = len(found["number"]) if not found["word"] else 0
    return f"{found['name']}.{found['word'] or ''}{number:0{width}d}"


class JoinedParts(io.RawIOBase):
    """Several files read as one."""

    def __init__(self, paths: tuple[Path, ...]):
        self._files = [path.open("rb") for path in paths]
        self._sizes = [path.stat().st_size for path in paths]
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: sum(self._sizes)}[whence]
        if at < 0:
            raise OSError(f"position {at} is before the file's beginning")  # zipfile expects it of truncated files
        self._at = at
        return at

    def readinto(self, buffer) -> int:
        start = 0
        for file, size in zip(self._files, self._sizes):
            if self._at < start + size:
                file.seek(self._at - start)
                count = file.readinto(memoryview(buffer)[: start + size - self._at])
                self._at += count
                return count
            start += size
        return 0

    def close(self) -> None:
        for file in self._files:
            file.close()
        super().close()


@contextlib.contextmanager
def open_archive(archive: Archive) -> Iterator[zipfile.ZipFile]:
    """Open a zip, in one piece or in parts.

    Raises:
        ArchiveError: If its end, or something in it, is missing.
    """
    with io.BufferedReader(JoinedParts(archive.parts), CHUNK_BYTES) as joined:
        try:
            file = zipfile.ZipFile(joined)
        except (zipfile.BadZipFile, OSError, ValueError) as error:
            raise ArchiveError(f"{archive.name} cannot be read ({error}). {_way_out(archive)}") from error
        if any(info.header_offset < 0 for info in file.infolist()):
            first = archive.parts[0].name
            raise ArchiveError(f"{archive.name} lacks its beginning: a part before {first} is missing. Download it.")
        with file:
            yield file


def _way_out(archive: Archive) -> str:
    if not archive.numbers:
        return f"It is no zip or was cut short: download {archive.parts[0]} again."
    last, number = archive.parts[-1], archive.numbers[-1]
    step = last.stat().st_size if _count_bytes(archive.numbers) or archive.numbers == (0,) else 1
    following = _sibling(last, number + step)
    return f"Its end is missing: either {last.name} was cut short or {following} is missing. Download it again."


def member_name(info: zipfile.ZipInfo) -> str:
    """A member's name as it was meant: UTF-8, with or without the flag that says so, or CP949; NFC."""
    name = info.orig_filename
    if not info.flag_bits & UTF8_NAME:
        name = decode_name(name.encode("cp437"))
    return unicodedata.normalize("NFC", name.replace("\\", "/"))


def decode_name(raw: bytes) -> str:
    """A file name's bytes as text: UTF-8 or CP949, or as Python keeps names that are neither."""
    for encoding in ("utf-8", "cp949"):
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    return os.fsdecode(raw)


def unsafe_reason(name: str) -> str | None:
    """Why a member of that name may not be written, if so."""
    path = PurePosixPath(name)
    if path.is_absolute() or re.match(r"[A-Za-z]:", name):
        return "is absolute"
    if ".." in path.parts:
        return "leads out of the folder"
    if any(len(os.fsencode(part)) > LONGEST_NAME for part in path.parts):
        return f"is longer than {LONGEST_NAME} bytes"
    return "holds a control character" if any(ord(character) < 32 for character in name) else None


def _odd_kind(info: zipfile.ZipInfo) -> str | None:
    """Why a member is not extracted, whatever it is called."""
    if info.flag_bits & ENCRYPTED:
        return "it is encrypted; unzip it with its password beside the archive, and run this again"
    mode = info.external_attr >> 16  # of Unix, 0 where another system made the zip
    if stat.S_IFMT(mode) and not stat.S_ISREG(mode):
        return "it is a link or device, no file; links may lead out of the folder"
    return None


def is_wanted(path: PurePosixPath | Path) -> bool:
    """Whether it is a label or a video, and not what macOS puts beside it."""
    hidden = any(part.startswith(("._", "__MACOSX")) for part in path.parts)
    return path.suffix.lower() in WANTED and not hidden


def extract(archive: Archive, folder: Path) -> Iterator[Rejection]:
    """Extract labels and videos that are not there yet; yields members that could not be.

    A file appears under its name once it is complete.

    Raises:
        ArchiveError: If the archive cannot be read.
        DiskError: If the disk is too small or cannot be written.
    """
    with open_archive(archive) as file:
        members: dict[Path, zipfile.ZipInfo] = {}
        for info in file.infolist():
            name = member_name(info)
            if info.is_dir() or not is_wanted(PurePosixPath(name)):
                continue
            target = folder / name
            if why := unsafe_reason(name):
                yield reject(f"{archive.name}/{name}", "E_ARCHIVE", f"the name {name!r} {why}; it is not extracted")
            elif why := _odd_kind(info):
                yield reject(f"{archive.name}/{name}", "E_ARCHIVE", why)
            elif target in members:
                yield reject(f"{archive.name}/{name}", "E_ARCHIVE", "the archive has this name twice")
            elif not (target.is_file() and target.stat().st_size == info.file_size):
                members[target] = info
        _check_space(archive, folder, sum(info.file_size for info in members.values()))
        for target, info in members.items():
            if reason := _extract_member(file, info, target):
                yield reject(f"{archive.name}/{member_name(info)}", "E_ARCHIVE", reason)


def _extract_member(file: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path) -> str | None:
    """Write one member under its name; returns why it could not be.

    Raises:
        DiskError: If the disk is at fault.
    """
    partial = partial_path(target)
    try:
        with writing(target.parent, target.name, needed_bytes=info.file_size):
            target.parent.mkdir(parents=True, exist_ok=True)
            with file.open(info) as source, partial.open("wb") as sink:
                shutil.copyfileobj(source, sink, CHUNK_BYTES)
            finish_file(partial, target)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        partial.unlink(missing_ok=True)
        return f"{type(error).__name__}: {error}. Download the archive again."
    except DiskError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        if isinstance(error.__cause__, FileExistsError | NotADirectoryError | IsADirectoryError):
            return "a folder and a file have the same name; unzip it by hand under another name"
        raise
    return None


def _check_space(archive: Archive, folder: Path, needed_bytes: int) -> None:
    with writing(folder, archive.name, needed_bytes=needed_bytes):
        folder.mkdir(parents=True, exist_ok=True)
    if needed_bytes > shutil.disk_usage(folder).free:
        raise DiskError(folder, archive.name, os.strerror(errno.ENOSPC), needed_bytes=needed_bytes)


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()
