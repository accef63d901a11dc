"""Find which label belongs to which video: the same stem, in the folders that are most alike."""

import os
import re
import unicodedata
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path, PurePosixPath

from .aihub_archives import VIDEO_SUFFIXES, decode_name, is_wanted
from .aihub_errors import Rejection, reject

# Parts of folder names that only say "here are labels" or "here are videos".
ROLE = re.compile(
    r"^(?:\d+[._ -]*)?(?:labels?|videos?|sources?|json|mp4|라벨링?(?:데이터)?|원천(?:데이터)?|영상)$", re.IGNORECASE
)
ROLE_PREFIX = re.compile(r"^([TV])[LS](?=[_ \d-]|$)", re.IGNORECASE)


@dataclass(frozen=True)
class SourceFile:
    """A label or a video.

    Attributes:
        path: Where it is.
        name: What it is called in reports and ids: relative to the source or to what was extracted, readable, NFC.
        extracted: Whether it came out of a zip.
    """

    path: Path
    name: str
    extracted: bool = False

    @property
    def stem(self) -> str:
        """The name without folders and suffixes; a label may be called clip.mp4.json."""
        stem = PurePosixPath(self.name).stem
        return PurePosixPath(stem).stem if PurePosixPath(stem).suffix.lower() in VIDEO_SUFFIXES else stem

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders, without what only tells labels from videos."""
        kept = []
        for part in PurePosixPath(self.name).parts[:-1]:
            if not ROLE.match(part):
                kept.append(ROLE_PREFIX.sub(r"\1", part).casefold())
        return tuple(kept)


def list_files(root: Path, without: Path) -> list[Path]:
    """All files under a folder, sorted, except those under `without`."""
    files = []
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if Path(folder, name) != without)
        files += [Path(folder, name) for name in sorted(names)]
    return files


def split_off_specials(root: Path, paths: list[Path]) -> tuple[list[Path], list[Rejection]]:
    """Files that can be read, and FIFOs, sockets and devices, which would wait for ever."""
    special = {path for path in paths if path.exists() and not path.is_file()}
    reason = "it is a FIFO, socket or device, no file; remove it"
    rejections = [reject(_readable(path.relative_to(root)), "E_NOT_FILE", reason) for path in sorted(special)]
    return [path for path in paths if path not in special], rejections


def source_files(root: Path, paths: list[Path], *, extracted: bool = False) -> list[SourceFile]:
    """Labels and videos among files, with readable names."""
    wanted = [path for path in paths if is_wanted(path.relative_to(root))]
    return [SourceFile(path, _readable(path.relative_to(root)), extracted) for path in wanted]


def pair_files(files: list[SourceFile]) -> tuple[list[tuple[SourceFile, SourceFile]], list[Rejection]]:
    """Pair labels with videos of the same stem.

    Where a stem is there more than once, those belong together whose folders have the longest common beginning; a tie
    is rejected rather than guessed.

    Returns:
        (label, video) in the order of the videos' names, and what has no partner.
    """
    by_stem: dict[str, tuple[list[SourceFile], list[SourceFile]]] = {}
    for file in files:
        is_label = file.path.suffix.lower() == ".json"
        by_stem.setdefault(file.stem, ([], []))[0 if is_label else 1].append(file)
    pairs, rejections = [], []
    for labels, videos in by_stem.values():
        found, rejected = _pair_stem(labels, videos)
        pairs += found
        rejections += rejected
    return sorted(pairs, key=lambda pair: pair[1].name), rejections


def _pair_stem(labels: list[SourceFile], videos: list[SourceFile]):
    """Take the pairs with most in common first, as long as neither side has another partner as good."""
    pairs, rejections = [], []
    labels, videos = list(labels), list(videos)
    while labels and videos:
        shared = {(i, j): _common(one, other) for i, one in enumerate(labels) for j, other in enumerate(videos)}
        most = max(shared.values())
        best = [pair for pair, value in shared.items() if value == most]
        tied_labels = {i for i, _ in best if sum(i == other for other, _ in best) > 1}
        tied_videos = {j for _, j in best if sum(j == other for _, other in best) > 1}
        spoiled = [(i, j) for i, j in best if i in tied_labels or j in tied_videos]
        for i, j in spoiled:
            tied_labels.add(i)
            tied_videos.add(j)
        for file, others in [(labels[i], videos) for i in tied_labels] + [(videos[j], labels) for j in tied_videos]:
            names = ", ".join(other.name for other in others[:4])
            reason = f"it fits {names} equally well; put a label and its video into folders of the same name"
            rejections.append(reject(file.name, "E_AMBIGUOUS", reason))
        pairs += [(labels[i], videos[j]) for i, j in best if (i, j) not in spoiled]
        used_labels, used_videos = {i for i, _ in best}, {j for _, j in best}
        labels = [label for i, label in enumerate(labels) if i not in used_labels]
        videos = [video for j, video in enumerate(videos) if j not in used_videos]
    for label in labels:
        rejections.append(reject(label.name, "E_NO_CLIP", f"no video is called {label.stem}"))
    for video in videos:
        rejections.append(reject(video.name, "E_NO_LABEL", f"no label is called {video.stem}"))
    return pairs, rejections


def _common(one: SourceFile, other: SourceFile) -> tuple[int, int]:
    """How many folders two files share from the outside in, and how few they do not share."""
    shared = sum(1 for _ in takewhile(lambda both: both[0] == both[1], zip(one.folders, other.folders)))
    return shared, -(len(one.folders) + len(other.folders) - 2 * shared)


def _readable(path: Path) -> str:
    return unicodedata.normalize("NFC", decode_name(os.fsencode(path.as_posix())))
