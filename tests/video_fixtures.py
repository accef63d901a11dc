"""Small clips made on the spot. Every frame shows its own number as bars, so that a test sees which one it got."""

import io
from collections.abc import Sequence
from fractions import Fraction

import av
import numpy as np

NUM_BARS = 6
INTERLACED = av.codec.context.Flags.interlaced_dct.value | av.codec.context.Flags.interlaced_me.value


def bars(index: int, width: int = 96, height: int = 64) -> np.ndarray:
    """A picture of a number: white and black vertical bars, highest bit left, uint8 `[H, W, 3]`."""
    columns = np.arange(width) * NUM_BARS // width
    bits = (index >> (NUM_BARS - 1 - columns)) & 1
    return np.broadcast_to((bits * 255).astype(np.uint8)[None, :, None], (height, width, 3)).copy()


def read_bars(frames: np.ndarray) -> list[int]:
    """The numbers that frames `[T, 3, H, W]` show."""
    rows = frames.astype(np.float64).mean(axis=(1, 2))  # [T, W]
    width = rows.shape[1]
    middles = [int((bar + 0.5) * width / NUM_BARS) for bar in range(NUM_BARS)]
    return [sum(int(row[m] > 128) << (NUM_BARS - 1 - bar) for bar, m in enumerate(middles)) for row in rows]


def corners(width: int = 96, height: int = 64) -> np.ndarray:
    """A picture that looks different in all eight orientations: top left white, top right grey, the rest black."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[: height // 2, : width // 2] = 255
    picture[: height // 2, width // 2 :] = 128
    return picture


class Pipe(io.RawIOBase):
    """A sink that cannot seek, as standard output."""

    def __init__(self):
        self.written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data) -> int:
        self.written += data
        return len(data)

    def seekable(self) -> bool:
        return False


def make_clip(
    pictures: Sequence[np.ndarray] | int = 20,
    *,
    container: str = "mp4",
    codec: str = "libx264",
    times_ms: Sequence[int] | None = None,
    fps: int = 10,
    gop: int = 10,
    bframes: int = 0,
    aspect: Fraction | None = None,
    turn: tuple[float, bool, bool] | None = None,
    muxer: dict[str, str] | None = None,
    piped: bool = False,
    pix_fmt: str = "yuv420p",
    picture_format: str = "rgb24",
    tags: dict[str, int] | None = None,
    interlaced: bool = False,
) -> bytes:
    """Encode pictures (a number n means `bars(0..n-1)`) into a file's bytes.

    Args:
        times_ms: When each picture is shown; default: evenly, at `fps`.
        turn: Degrees counterclockwise, mirrored, flipped: written as a display matrix.
        piped: Write as into a pipe, so that the muxer cannot go back to fill in the duration.
        interlaced: Code the lines of a picture as two fields.
        picture_format: What the pictures' last dimension holds: "rgb24", "rgba", "rgb48le", "rgba64le".
        tags: `colorspace`, `color_range`, `color_trc` and `color_primaries`, by FFmpeg's numbers. The first two are how
            the pictures are converted, too.
    """
    pictures = [bars(i) for i in range(pictures)] if isinstance(pictures, int) else pictures
    height, width = pictures[0].shape[:2]
    sink = Pipe() if piped else io.BytesIO()
    with av.open(sink, "w", format=container, options=muxer or {}) as file:
        stream = file.add_stream(codec, rate=fps, width=width, height=height, pix_fmt=pix_fmt)
        assert isinstance(stream, av.VideoStream)
        stream.codec_context.gop_size = gop
        stream.codec_context.max_b_frames = bframes
        stream.codec_context.time_base = Fraction(1, fps) if times_ms is None else Fraction(1, 1000)
        stream.codec_context.thread_count = 1
        if codec == "libx264":
            stream.options = {"preset": "veryfast", "bf": str(bframes), "sc_threshold": "0", "crf": "10"}
        elif codec == "libx265":
            parameters = f"log-level=none:bframes={bframes}:pools=none:frame-threads=1"
            stream.options = {"preset": "ultrafast", "crf": "10", "x265-params": parameters}
        elif codec == "libsvtav1":
            stream.options = {"preset": "12", "crf": "10", "svtav1-params": "lp=1"}
        elif codec.startswith("libvpx"):
            stream.options = {"deadline": "realtime", "cpu-used": "8", "crf": "10", "b": "2M"}
        if interlaced:
            stream.codec_context.flags |= INTERLACED
        for name, value in (tags or {}).items():
            setattr(stream.codec_context, name, value)
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        if turn is not None:
            stream.set_display_rotation(turn[0], hflip=turn[1], vflip=turn[2])
        for i, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format=picture_format)
            frame = frame.reformat(format=pix_fmt, **_conversion(tags or {}))
            for name, value in (tags or {}).items():
                setattr(frame, name, value)
            frame.pts = i if times_ms is None else times_ms[i]
            frame.time_base = stream.codec_context.time_base
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return bytes(sink.written) if isinstance(sink, Pipe) else sink.getvalue()


def _conversion(tags: dict[str, int]) -> dict[str, int]:
    return {f"dst_{name}": tags[name] for name in ("colorspace", "color_range") if name in tags}


def make_sound(container: str, codec: str) -> bytes:
    """Half a second of a tone."""
    sink = io.BytesIO()
    with av.open(sink, "w", format=container) as file:
        stream = file.add_stream(codec, rate=44100)
        assert isinstance(stream, av.AudioStream)
        tone = (np.sin(np.arange(22050) / 10) * 9000).astype(np.int16)[None]
        for start in range(0, 22050 - 1152, 1152):
            frame = av.AudioFrame.from_ndarray(tone[:, start : start + 1152], format="s16", layout="mono")
            frame.sample_rate, frame.pts = 44100, start
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    return sink.getvalue()


def make_song_with_cover() -> bytes:
    """An mp3 with a JPEG in its ID3 tag, which FFmpeg shows as a video stream."""
    picture = make_clip(1, container="mjpeg", codec="mjpeg", pix_fmt="yuvj420p")
    body = b"\0image/jpeg\0\3\0" + picture
    frame = b"APIC" + len(body).to_bytes(4, "big") + b"\0\0" + body
    size = bytes(len(frame) >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\3\0\0" + size + frame + make_sound("mp3", "libmp3lame")


def cut_start(clip: bytes, start_ms: int) -> bytes:
    """Make an mp4's edit list begin later: the frames before are stored but not shown."""
    at = clip.index(b"elst")
    timescale_at = clip.index(b"mdhd") + 4 + 12
    ticks = start_ms * int.from_bytes(clip[timescale_at : timescale_at + 4], "big") // 1000
    length_at = at + 4 + 8
    length = int.from_bytes(clip[length_at : length_at + 4], "big") - start_ms  # in the movie's ticks, milliseconds
    begin = int.from_bytes(clip[length_at + 4 : length_at + 8], "big") + ticks
    return clip[:length_at] + length.to_bytes(4, "big") + begin.to_bytes(4, "big") + clip[length_at + 8 :]


def claim_size(clip: bytes, width: int, height: int) -> bytes:
    """Make an mp4's sample description lie about the frame size."""
    at = clip.index(b"avc1", clip.index(b"stsd")) + 28
    return clip[:at] + width.to_bytes(2, "big") + height.to_bytes(2, "big") + clip[at + 4 :]


def damage(clip: bytes, num_bytes: int, seed: int) -> bytes:
    """Overwrite random bytes of an mp4's picture data."""
    spoiled, draw = bytearray(clip), np.random.default_rng(seed)
    begin = clip.index(b"mdat") + 4
    end = begin + int.from_bytes(clip[begin - 8 : begin - 4], "big") - 8
    for at in draw.integers(begin, end, num_bytes):
        spoiled[at] = draw.integers(256)
    return bytes(spoiled)
