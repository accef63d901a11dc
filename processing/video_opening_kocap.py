"""Open what a user calls a video without trusting it.

FFmpeg never sees a name: the file is opened here, as a regular local file, and handed over as bytes. So no string can
become a URL or a protocol, and any name works. Only containers that hold video are tried, and none of them may open a
second file.
"""

import contextlib
import errno
import io
import os
import re
import stat
import threading
import unicodedata
from collections.abc import Iterator
from typing import BinaryIO, NoReturn

import av
import av.container
import av.error
import av.stream
import av.video.stream

from .video_errors_kocap import (
    NotFileError,
    NotVideoError,
    NoVideoStreamError,
    VideoCodecError,
    VideoEmptyError,
    VideoError,
    VideoFormatError,
    VideoNotFoundError,
    VideoTooLargeError,
    VideoTooLongError,
    VideoTruncatedError,
)
from .video_limits_kocap import Deadline, Limits
from .video_threads_kocap import CORES, ENOUGH_BYTES, MAX_THREADS, decoding_threads, fits

VideoSource = str | os.PathLike | bytes | bytearray | BinaryIO

VIDEO_FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,h261,h263,h264,hevc,vvc,vc1,obu,av1,ivf,flv,ogg,asf,gif,"
    "mjpeg,mxf,dv,rm,nut,yuv4mpegpipe"
)
AUDIO_FORMATS = "mp3,wav,flac,aac,ac3,eac3,aiff,amr"  # opened only to say that there is no video in them
VIDEO_CODECS = (  # FFmpeg's names of its decoders
    "h261,h263,h263i,h263p,h264,hevc,vvc,libdav1d,av1,libaom-av1,vp3,theora,vp4,vp5,vp6,vp6a,vp6f,vp7,vp8,vp9,libvpx,"
    "libvpx-vp9,mpeg1video,mpeg2video,mpeg4,msmpeg4v1,msmpeg4v2,msmpeg4,wmv1,wmv2,wmv3,vc1,flv,mjpeg,mjpegb,gif,apng,png,"
    "qtrle,svq1,svq3,rpza,cinepak,indeo3,indeo5,rv10,rv20,rv30,rv40,dvvideo,prores,dnxhd,cfhd,ffv1,huffyuv,ffvhuff,"
    "utvideo,magicyuv,rawvideo,yuv4,msvideo1,msrle,camtasia,tscc,tscc2,zmbv,flashsv,flashsv2,cavs,jpeg2000,dirac,snow"
)
PLAYLIST = re.compile(rb"#EXTM3U|ffconcat|v=0\r?\n|<\?xml.{,400}<MPD|<MPD|\[playlist\]|https?://|rtsp://", re.DOTALL)
PROTOCOL = re.compile(r"[A-Za-z][\w+.,-]+:")  # two letters or more: `C:` is a drive
MP4_BOXES = (b"ftyp", b"styp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide", b"pnot")


def source_name(source: VideoSource) -> str:
    """The source as error messages show it."""
    if isinstance(source, bytes | bytearray):
        return f"<{len(source)} bytes>"
    return repr(os.fspath(source)) if isinstance(source, str | os.PathLike) else f"<{type(source).__name__}>"


@contextlib.contextmanager
def open_source(source: VideoSource, limits: Limits) -> Iterator[BinaryIO]:
    """Open the source for reading from its first byte; a caller's file object is left open afterwards.

    Raises:
        VideoError: If it is missing, not a regular file, a URL, empty or too long.
        TypeError: If it is neither a path, bytes nor a binary file object.
    """
    if isinstance(source, bytes | bytearray):
        file = io.BytesIO(source)
    elif isinstance(source, str | os.PathLike):
        file = _open_path(os.fsdecode(source))
    elif not hasattr(source, "read"):
        raise TypeError(f"a video is a path, bytes or a binary file object, not {type(source).__name__}.")
    else:
        file = source
        if not file.seekable():
            raise NotFileError(f"{source_name(source)} cannot seek, and videos need it. Read it into bytes first.")
    try:
        size = file.seek(0, os.SEEK_END)
        if size == 0:
            raise VideoEmptyError(f"{source_name(source)} is 0 bytes long. Download or upload it again.")
        if size > limits.max_bytes:
            raise VideoTooLongError(
                f"{source_name(source)} is {size} bytes long; the limit is {limits.max_bytes}."
                " Cut it, re-encode it smaller, or raise max_bytes."
            )
        file.seek(0)
        if not isinstance(file.read(0), bytes):
            raise TypeError(f"{source_name(source)} is open in text mode; open it with mode 'rb'.")
        yield file
    finally:
        if file is not source:
            file.close()


def _open_path(path: str) -> BinaryIO:
    # A name typed or stored in one Unicode form often lies on disk in the other (macOS writes NFD).
    for name in dict.fromkeys([path, unicodedata.normalize("NFC", path), unicodedata.normalize("NFD", path)]):
        try:
            descriptor = os.open(name, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a NUL in the name
            continue
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                continue
            raise NotFileError(
                f"{path!r} cannot be opened: {error.strerror}. Check what it is and its permissions."
            ) from error
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return io.FileIO(descriptor)
        os.close(descriptor)
        raise NotFileError(f"{path!r} is a directory, FIFO or device; a video must be a regular file.")
    if PROTOCOL.match(path):
        raise VideoFormatError(
            f"{path!r} is no local file; URLs and FFmpeg protocols are not opened. Download it and pass its path."
        )
    raise VideoNotFoundError(f"{path!r} does not exist. Check the path.")


class FileView(io.RawIOBase):
    """A position of its own in a file that several containers read at once.

    Args:
        file: Shared; only ever used under `lock`.
        num_bytes: Its length.
    """

    def __init__(self, file: BinaryIO, lock: threading.Lock, num_bytes: int):
        self._file, self._lock, self._end, self._at = file, lock, num_bytes, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> bytes:
        if self._at >= self._end:
            return b""  # damaged files lead FFmpeg to places where a file of the system cannot even seek
        with self._lock:
            self._file.seek(self._at)
            data = self._file.read(size)
        self._at += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """The new position, or -1, an error to FFmpeg, if that is before the file's beginning."""
        at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._end}[whence]
        if at < 0:
            return -1
        self._at = at
        return at


def open_container(
    file: io.RawIOBase | BinaryIO, name: str, limits: Limits, *, quick: bool = False
) -> av.container.InputContainer:
    """Let FFmpeg find out which container this is, by content alone.

    Args:
        quick: Decode nothing while opening. Then a stream may not know its pixel format and reordering yet.
    Raises:
        VideoError: If it is a playlist, cut short, or no video.
    """
    file.seek(0)
    head = file.read(1024).lstrip(b"\xef\xbb\xbf \t\r\n")
    if PLAYLIST.match(head):
        raise VideoFormatError(f"{name} is a playlist or script that points to other files. Pass the video itself.")
    if _is_still(file):
        raise NotVideoError(
            f"{name} is a still picture (HEIC or AVIF), no video. Save it as JPEG or PNG and pass it as a picture.",
            "영상이 아니라 사진(HEIC, AVIF)입니다. JPEG나 PNG로 저장해 사진으로 올리거나, 영상을 사용해 주세요.",
        )
    file.seek(0)
    try:
        container = av.open(
            file,
            mode="r",
            options=_decoder_options(limits) | ({"skip_frame": "all"} if quick else {}),  # for decoding while it opens
            container_options={"format_whitelist": f"{VIDEO_FORMATS},{AUDIO_FORMATS}", "protocol_whitelist": "none"},
            metadata_errors="replace",  # titles in CP949 are common
            buffer_size=1 << 17,
            io_open=_refuse_to_open,
        )
    except av.error.FFmpegError as error:
        if isinstance(error, MemoryError) and not fits(ENOUGH_BYTES):
            raise
        raise _why_not(file, name) from error
    if container.format.name == "avi":  # stores no PTS; those PyAV has FFmpeg make up are wrong for H.264 with B-frames
        container.flags &= ~av.container.Flags.gen_pts.value
    return container


def _refuse_to_open(url: str, flags: int, options: dict) -> NoReturn:
    raise VideoFormatError(f"the video asks to open {url!r}; a video must be one file. Re-encode it into one.")


def _boxes(file: io.RawIOBase | BinaryIO) -> Iterator[tuple[bytes, bytes, bool]]:
    """Names of an mp4's outermost boxes, up to 56 bytes of what is in them, and whether all of each is there."""
    size, position = file.seek(0, os.SEEK_END), 0
    while position + 8 <= size:
        file.seek(position)
        head = file.read(64)
        length = int.from_bytes(head[8:16] if head[:4] == b"\0\0\0\1" else head[:4], "big")
        yield head[4:8], head[8:], position + length <= size
        position += length if length >= 8 else size  # 0: up to the end of the file


def _is_still(file: io.RawIOBase | BinaryIO) -> bool:
    """Whether these are HEIF pictures (HEIC, AVIF) without a track that moves; FFmpeg has a stream for each tile."""
    pictures = False
    for i, (box, inside, _) in enumerate(_boxes(file)):
        if (i == 0 and box != b"ftyp") or box == b"moov":
            return False
        pictures = pictures or (box == b"meta" and b"pict" in inside)
    return pictures


def _why_not(file: io.RawIOBase | BinaryIO, name: str) -> VideoError:
    """Tell an mp4 that was cut short from something that never was a video."""
    file.seek(0)
    head = file.read(8)
    for i, (box, _, is_whole) in enumerate(_boxes(file)):
        if i == 0 and box not in MP4_BOXES:
            return NotVideoError(
                f"{name} starts with {head!r}, which no known video container does. Is it really a video?"
            )
        if box == b"moov" and is_whole:
            return NotVideoError(
                f"{name} looks like mp4, but its moov box cannot be read. Re-encode or download it again."
            )
    return VideoTruncatedError(
        f"{name} is an mp4 without its moov box: {file.seek(0, os.SEEK_END)} bytes are not the whole file."
        " Download it again."
    )


def find_video_stream(
    container: av.container.InputContainer, name: str, limits: Limits, *, most_threads: int
) -> av.video.stream.VideoStream:
    """The stream a player would show, ready to decode; cover pictures do not count.

    Args:
        most_threads: For decoding; a large picture takes fewer of them.
    Raises:
        VideoError: If there is none, no decoder for it that may be used, or its frames are too large.
    """
    best = container.streams.best("video")
    candidates = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
    if not candidates:
        held = ", ".join(s.type for s in container.streams) or "nothing"
        raise NoVideoStreamError(
            f"{name} ({container.format.name}) holds {held} and no moving pictures. Pass a file with video."
        )
    candidates = [s for s in candidates if s.duration or s.frames != 1] or candidates  # not the still beside a track
    stream = next((s for s in candidates if s is best), candidates[0])
    if stream.codec_context is None:
        raise NotVideoError(f"{name}: this FFmpeg has no decoder for its video. Re-encode it as H.264.")
    codec = stream.codec_context.codec.name
    if codec not in VIDEO_CODECS.split(","):
        raise VideoCodecError(f"{name}: its codec {codec!r} is not one of those allowed. Re-encode it as H.264.")
    pixels = check_pixels(stream.codec_context.width, stream.codec_context.height, name, limits)
    # With frame threads FFmpeg 5 to 8 decodes Theora wrongly after a repeated frame (opencv's ocean.ogv).
    stream.thread_type = "SLICE" if codec in ("theora", "vp3") else "AUTO"
    stream.codec_context.thread_count = decoding_threads(pixels * 3 // 2, most=most_threads)
    stream.codec_context.options = _decoder_options(limits)  # on the container alone it does nothing for decoding
    return stream


def _decoder_options(limits: Limits) -> dict[str, str]:
    # FFmpeg counts the padding of its buffers too, so leave it room; `check_pixels` draws the exact line.
    return {"max_pixels": str(limits.max_pixels * 9 // 8 + (1 << 16)), "codec_whitelist": VIDEO_CODECS}


def check_pixels(width: int, height: int, name: str, limits: Limits) -> int:
    """Pixels of a frame of this size; raises `VideoTooLargeError` if they are over the limit."""
    if width * height > limits.max_pixels:
        raise VideoTooLargeError(
            f"{name}: frame is {width}x{height} = {width * height / 1e6:.1f} MP; the limit is"
            f" {limits.max_pixels / 1e6:.1f}. Re-encode it smaller, or raise max_pixels."
        )
    return width * height


class Opener:
    """Opens one video again and again: containers of their own over one file, closed when the `with` block ends.

    An open container and its streams refer to each other, so decoded pictures would wait for the garbage collector.

    Attributes:
        name, limits, deadline: Of the video. The clock runs from here.
        num_bytes: Length of the file.
        most_threads: For all decoders of the video.
    """

    def __init__(self, file: BinaryIO, name: str, limits: Limits):
        self.name, self.limits, self.deadline = name, limits, Deadline(limits.max_seconds, name)
        self.num_bytes = file.seek(0, os.SEEK_END)
        self.most_threads = min(CORES, MAX_THREADS)
        self._file, self._lock = file, threading.Lock()
        self._containers: list[av.container.InputContainer] = []

    def __enter__(self) -> "Opener":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the containers opened so far."""
        while self._containers:
            self._containers.pop().close()

    def open(
        self, *, quick: bool = False, threads: int | None = None
    ) -> tuple[av.container.InputContainer, av.video.stream.VideoStream]:
        """A container and its video stream; see `open_container` and `find_video_stream`.

        Args:
            threads: For decoding, if not as many as one decoder may have.
        """
        view = FileView(self._file, self._lock, self.num_bytes)
        container = open_container(view, self.name, self.limits, quick=quick)
        self._containers.append(container)
        stream = find_video_stream(container, self.name, self.limits, most_threads=self.most_threads)
        if threads is not None:
            stream.codec_context.thread_count = threads
        return container, stream
