"""Find clips: in folders, by patterns and by name; every file once, however many names it has.

    found = find_clips(["videos", "more/**/*.mp4", "one.webm"])
    found.paths, found.left_out

In a folder everything below it is looked at that is called like a video; other files are counted, hidden ones (`.git`,
macOS's `._clip.mp4`) are passed over. Links that lead out of the folder are left out, for a folder from somebody else
may point at anything. What is named, also by a pattern, is always taken.
"""

import glob
import os
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from configuration.coded_errors_kocap import CodedError, Notice, Severity

VIDEO_SUFFIXES = tuple(
    f".{name}"
    for group in (
        ("mp4", "m4v", "mov", "qt", "3gp", "3g2", "mj2", "f4v", "mkv", "webm", "avi", "divx", "wmv", "asf", "flv"),
        ("ts", "mts", "m2ts", "mpg", "mpeg", "mpe", "m1v", "m2v", "vob", "mxf", "ogv", "ogm", "rm", "rmvb", "nut"),
        ("dv", "gif", "mjpg", "mjpeg", "y4m", "ivf", "obu", "h261", "h263", "h264", "264", "h265", "265", "hevc"),
        ("h266", "266", "vvc"),
    )
    for name in group
)


class NoVideosError(CodedError, ValueError):
    """Nothing to look at."""

    code = "E_NO_CLIPS"
    message_ko = "영상 파일이 없습니다. 폴더나 패턴을 확인해 주세요."


@dataclass(frozen=True, kw_only=True)
class LeftOut(Notice):
    """A file or folder that was not taken, and why: an error where something may be missing."""

    path: str


@dataclass(frozen=True)
class FoundClips:
    """What was found.

    Attributes:
        paths: Absolute, as the names lie on disk, each file once; those of a folder sorted.
        num_others: Files in folders that are not called like a video.
    """

    paths: tuple[str, ...]
    left_out: tuple[LeftOut, ...] = ()
    num_others: int = 0


class FileSet:
    """Files by what they are, not by what they are called: links, hard links, NFC and NFD.

    A file that is gone is known by its name.
    """

    def __init__(self, paths: Iterable[str] = ()):
        self._files: dict[tuple[int, int] | str, str] = {}
        for path in paths:
            self.add(path)

    def add(self, path: str) -> str | None:
        """Add a file; returns the name it is known by already, or None where it is new."""
        if (known := self.known_as(path)) is None:
            self._files[_identity(path) or _nfc(path)] = path
        return known

    def known_as(self, path: str) -> str | None:
        """The name under which a file was added."""
        return self._files.get(_identity(path) or "", self._files.get(_nfc(path)))

    def __contains__(self, path: str) -> bool:
        return self.known_as(path) is not None


def find_clips(arguments: Sequence[str | os.PathLike], *, output: str | os.PathLike | None = None) -> FoundClips:
    """Find the clips that files, folders and patterns (`*`, `?`, `[...]`, `**`) name.

    Args:
        arguments: A name that is there is never taken for a pattern. One that matches nothing comes back as a path.
        output: A file that is no clip, whatever it is called: what a pattern says is written there.
    """
    return _Search(FileSet() if output is None else FileSet([os.path.abspath(output)])).run(arguments)


@dataclass
class _Search:
    not_clips: FileSet
    clips: FileSet = field(default_factory=FileSet)
    paths: list[str] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    num_others: int = 0

    def run(self, arguments: Sequence[str | os.PathLike]) -> FoundClips:
        for argument in arguments:
            for path in _matches(os.fspath(argument)):
                if os.path.isdir(path):
                    self._take_folder(path)
                else:
                    self._take(path)
        return FoundClips(tuple(self.paths), tuple(self.left_out), self.num_others)

    def _take(self, path: str) -> None:
        if path in self.not_clips:
            return
        known = self.clips.add(path)
        if known is None:
            self.paths.append(path)
        elif known != path:
            self._leave(
                path, "W_SAME_FILE", f"the same file as {known}", f"{known}와(과) 같은 파일이라 한 번만 봅니다."
            )

    def _take_folder(self, folder: str) -> None:
        root = os.path.realpath(folder)
        for parent, folders, names in os.walk(folder, onerror=self._tell_unreadable):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in folders:
                self._leads_out(os.path.join(parent, name), root)  # walked or not, as os.walk follows no links
            for name in sorted(names):
                path = os.path.join(parent, name)
                if name.startswith("."):
                    continue
                if not name.lower().endswith(VIDEO_SUFFIXES):
                    self.num_others += path not in self.not_clips
                elif not self._leads_out(path, root):
                    self._take(path)

    def _leads_out(self, path: str, root: str) -> bool:
        if not os.path.islink(path):
            return False
        target = os.path.realpath(path)
        if out := not f"{target}{os.sep}".startswith(f"{root.rstrip(os.sep)}{os.sep}"):
            self._leave(
                path,
                "W_LINK",
                f"it is a link that leads out of the folder, to {target}; name it, or a pattern like 'folder/*.mp4',"
                " if it is meant",
                f"폴더 밖({target})을 가리키는 링크라 뺐습니다."
                " 필요하면 그 파일이나 '폴더/*.mp4' 같은 패턴을 직접 주세요.",
            )
        return out

    def _tell_unreadable(self, error: OSError) -> None:
        self._leave(
            os.fsdecode(error.filename),
            "E_FOLDER",
            f"the folder cannot be read ({error.strerror}); check its permissions",
            f"폴더를 읽을 수 없습니다({error.strerror}). 권한을 확인해 주세요.",
            severity="error",
        )

    def _leave(self, path: str, code: str, message: str, message_ko: str, severity: Severity = "warning") -> None:
        self.left_out.append(LeftOut(path=path, code=code, message=message, message_ko=message_ko, severity=severity))


def _matches(argument: str) -> Iterator[str]:
    """Paths that an argument stands for: itself, in the form in which it lies on disk, or what a pattern matches."""
    forms = dict.fromkeys([argument, _nfc(argument), unicodedata.normalize("NFD", argument)])
    for form in forms:
        if os.path.lexists(form):
            yield os.path.abspath(form)
            return
    matches = sorted({match for form in forms for match in glob.glob(form, recursive=True)})
    for match in matches or [argument]:
        yield os.path.abspath(match)


def _identity(path: str) -> tuple[int, int] | None:
    """What a file is, whatever it is called; None where it is gone or the file system does not say."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):  # ValueError: a NUL in the name
        return None
    return (status.st_dev, status.st_ino) if status.st_ino else None


def _nfc(path: str) -> str:
    return unicodedata.normalize("NFC", path)
