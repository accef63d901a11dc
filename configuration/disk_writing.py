"""Writing that says what was wrong with the disk, and what is really on it once it is said to be.

with writing(folder, "a checkpoint"):
    ...                              # a full or read-only disk: DiskError, E_DISK, that names the folder
    force_to_disk(path)              # from here on it survives a power cut
"""

import errno
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from .coded_errors_kocap import CodedError

# A full disk, a quota, a file system's or ulimit's largest file, a read-only or failing disk.
DISK_FAULTS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}
LIBRARIES_FAULTS = re.compile(r"\(os error (\d+)\)|PytorchStreamWriter failed writing|file write failed|unexpected pos")
LONGEST_NAME = 255  # bytes, on every common file system


class DiskError(CodedError, OSError):
    """Something could not be written; what was finished before is still there."""

    code = "E_DISK"

    def __init__(self, place: Path | str, what: str, cause: str, *, needed_bytes: int | None = None):
        self.place, self.what, self.cause, self.needed_bytes = str(place), what, cause, needed_bytes
        needed = "" if needed_bytes is None else _size(needed_bytes)
        free = _free_bytes(Path(place))
        facts = [cause, needed and f"{needed} needed", "" if free is None else f"{_size(free)} free"]
        facts_ko = [cause, needed and f"필요한 공간 {needed}", "" if free is None else f"남은 공간 {_size(free)}"]
        super().__init__(
            f"{place}: {what} cannot be written ({'; '.join(filter(None, facts))}). What was finished is still there."
            " Free some space or check the permissions, then run the same command again, or choose another folder.",
            f"{place}에 쓸 수 없습니다({', '.join(filter(None, facts_ko))}). 이미 끝난 결과는 그대로 있습니다."
            " 공간을 비우거나 권한을 확인한 뒤 같은 명령을 다시 실행하거나, 다른 폴더를 지정해 주세요.",
        )

    def __reduce__(self):
        return _remade, (type(self), self.place, self.what, self.cause, self.needed_bytes)


def _remade(kind: type[DiskError], place: str, what: str, cause: str, needed_bytes: int | None) -> DiskError:
    return kind(place, what, cause, needed_bytes=needed_bytes)


@contextmanager
def writing(place: Path | str, what: str, *, needed_bytes: int | None = None) -> Iterator[None]:
    """Say of whatever the disk refuses inside that it is the disk's fault.

    Args:
        place: Folder or file that is written to.
        what: Is written, in English, for the message.
        needed_bytes: Its size, where that is known.
    Raises:
        DiskError: For every OSError, and for what safetensors and torch raise in place of one.
    """
    try:
        yield
    except CodedError:
        raise
    except OSError as error:
        raise DiskError(place, what, system_words(error), needed_bytes=needed_bytes) from error
    except Exception as error:
        if not is_disk_fault(error):
            raise
        raise DiskError(place, what, system_words(error), needed_bytes=needed_bytes) from error


def is_disk_fault(error: BaseException) -> bool:
    """Whether a disk is full, read-only or failing, also where a library says so in words of its own."""
    if isinstance(error, OSError):
        return error.errno in DISK_FAULTS
    found = LIBRARIES_FAULTS.search(str(error))
    return found is not None and (found[1] is None or int(found[1]) in DISK_FAULTS | {errno.EACCES, errno.EPERM})


def system_words(error: BaseException) -> str:
    """What the system says of an error, also where a library has wrapped it."""
    for cause in (error, error.__context__):
        if isinstance(cause, OSError) and cause.errno:
            return os.strerror(cause.errno)
    found = LIBRARIES_FAULTS.search(str(error))
    return os.strerror(int(found[1])) if found and found[1] else str(error).splitlines()[0]


def _free_bytes(place: Path) -> int | None:
    for folder in (place, *place.absolute().parents):
        if os.path.isdir(folder):  # Path.is_dir raises where a name is too long
            return shutil.disk_usage(folder).free
    return None


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count} B"


def append_line(file: BinaryIO, line: bytes, place: Path, *, forced: bool) -> None:
    """Append to a file that is open for it, past its buffer, which would try again when the file is closed.

    Args:
        forced: Return only when the line is on the disk itself.
    Raises:
        DiskError: If it does not fit; what is there of it then has no end.
    """
    with writing(place, "a line", needed_bytes=len(line)):
        left = memoryview(line)
        while left:
            left = left[os.write(file.fileno(), left) :]
        if forced:
            os.fsync(file.fileno())


def check_writable(path: Path) -> None:
    """See that a file can be written, before hours of work; leaves nothing behind.

    Raises:
        DiskError: If it cannot.
    """
    with writing(path, "the output"):
        path.parent.mkdir(parents=True, exist_ok=True)
        existed = path.exists()
        path.open("ab").close()
        if not existed:
            path.unlink()


def partial_path(path: Path) -> Path:
    """What a file is called until it is complete: in its folder, however long its name is."""
    name = f"{path.name}.partial"
    if len(os.fsencode(name)) > LONGEST_NAME:
        name = f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:32]}.partial"
    return path.with_name(name)


def force_to_disk(path: Path) -> None:
    """Return when a file's content, or a folder's list of names, is on the disk itself."""
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def finish_file(partial: Path, path: Path) -> None:
    """Give a complete file its name: from here on it is there, also after a power cut."""
    force_to_disk(partial)
    partial.replace(path)
    if os.name == "posix":  # elsewhere folders cannot be opened
        force_to_disk(path.parent)
