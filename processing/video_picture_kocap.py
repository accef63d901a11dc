"""Show a decoded frame as a player does: upright, in display aspect, in RGB, already small.

- Colour: by the matrix and range the frame carries. Without a matrix it is BT.601, as for the ffmpeg program; HDR then
  is BT.2020. Matrices FFmpeg cannot undo (YCgCo, ICtCp) are shown with that default instead of failing.
- HDR (PQ and HLG) is tone-mapped, after scaling; wide-gamut SDR is not converted.
- Transparent pixels lie on black, as in video players. Colours and alpha are scaled first and combined then, so edges
  come out a little dark. VP8 and VP9 keep alpha beside the picture, where FFmpeg's own decoders, and so players, do not
  look.
- Interlaced frames: FFmpeg 8 scales the two fields apart and weaves them again, so a small picture would show the same
  comb as a large one. Only the first field is taken. It has half the lines: shrunk to half or less nothing is lost, and
  larger pictures are as soft as its lines stretched to the full height. Film flagged as interlaced is treated alike.
"""

from collections.abc import Iterable

import av.video.frame
import av.video.reformatter
import av.video.stream
import numpy as np
from av.video.format import VideoFormat
from av.video.reformatter import Colorspace

from .tone_mapping_kocap import HDR_TRANSFERS, tone_map

LARGE_PICTURE = 1_000_000  # pixels; below this, setting up threads that scale takes longer than scaling
MAX_STRETCH = 16  # sample aspect ratios beyond this are broken headers
SCALING = (
    av.video.reformatter.Interpolation.BICUBIC
    | av.video.reformatter.Interpolation.ACCURATE_RND
    | av.video.reformatter.Interpolation.FULL_CHR_H_INT
)
# AVColorSpace -> swscale's name for it. FFmpeg refuses to convert frames whose matrix it cannot undo.
MATRICES = {
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
    10: Colorspace.BT2020,  # constant luminance: nearest there is
}
# By (HDR, alpha). swscale makes planes three times as fast as interleaved pixels, and bit by bit alike.
FORMATS = {
    (False, False): "gbrp",
    (False, True): "gbrap",
    (True, False): "gbrp16le",
    (True, True): "gbrap16le",
}


class Picture:
    """How a clip's frames are shown: turned by the display matrix, stretched by the sample aspect ratio.

    Attributes:
        width, height: Size as shown.
        rotation_degrees: Clockwise turn: 0, 90, 180 or 270.
        threads: That scale a large frame.
    """

    threads = 1

    def __init__(self, frame: av.video.frame.VideoFrame, stream: av.video.stream.VideoStream):
        aspect = float(stream.sample_aspect_ratio or 1)
        if not 1 / MAX_STRETCH <= aspect <= MAX_STRETCH:
            aspect = 1.0
        # x' = a x + c y, y' = b x + d y
        a, b, c, d = _display_matrix(frame)
        self._transposed = abs(b) > abs(a)
        self._mirrored, self._flipped = (c < 0, b < 0) if self._transposed else (a < 0, d < 0)
        if a * d < b * c:  # mirrored: what remains to turn after mirroring left and right
            a, b = -a, -b
        self.rotation_degrees = (90 if b > 0 else 270) if self._transposed else (180 if a < 0 else 0)
        size = max(1, round(frame.width * aspect)), frame.height
        self.width, self.height = size[::-1] if self._transposed else size
        self._reformatter = av.video.reformatter.VideoReformatter()
        self._is_large = frame.width * frame.height >= LARGE_PICTURE

    def render(self, frame: av.video.frame.VideoFrame, out: np.ndarray) -> None:
        """Draw one frame as shown, RGB, into `out`, uint8 `[..., 3, H, W]`, at the size that has.

        A large frame is held once, however many places of `out` show it.
        """
        *_, height, width = out.shape
        stored_width, stored_height = (height, width) if self._transposed else (width, height)
        for channel, plane in enumerate(self._reformat(frame, stored_width, stored_height)):
            upright = plane.T if self._transposed else plane
            out[..., channel, :, :] = upright[:: -1 if self._flipped else 1, :: -1 if self._mirrored else 1]

    def _reformat(self, frame: av.video.frame.VideoFrame, width: int, height: int) -> Iterable[np.ndarray]:
        """Colours, alpha, fields and size made plain; still stored orientation. Three times uint8 `[height, width]`."""
        hdr, alpha = frame.color_trc in HDR_TRANSFERS, _may_be_transparent(frame.format)
        matrix = MATRICES.get(frame.colorspace, Colorspace.BT2020 if hdr else Colorspace.ITU601)
        num_fields = 2 if frame.interlaced_frame else 1
        small = self._reformatter.reformat(
            frame,
            width,
            height * num_fields,
            FORMATS[hdr, alpha],
            src_colorspace=matrix,
            dst_colorspace=matrix,
            interpolation=SCALING,
            threads=self.threads if self._is_large else 1,
        )
        depth = np.uint16 if hdr else np.uint8
        green, blue, red, *opacity = (
            np.frombuffer(plane, depth).reshape(plane.height, -1)[::num_fields, :width]  # the first field alone
            for plane in small.planes
        )
        image = [red, green, blue]
        if hdr:
            image = np.moveaxis(tone_map(np.stack(image, axis=-1), frame.color_trc, frame.color_primaries), -1, 0)
            opacity = [plane >> 8 for plane in opacity]
        if opacity:
            image = [((plane * opacity[0].astype(np.uint16) + 127) // 255).astype(np.uint8) for plane in image]
        return image


def _may_be_transparent(pixel_format: VideoFormat) -> bool:
    return pixel_format.has_palette or any(component.is_alpha for component in pixel_format.components)


def _display_matrix(frame: av.video.frame.VideoFrame) -> tuple[int, int, int, int]:
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return 1, 0, 0, 1
    matrix = np.frombuffer(bytes(data), np.int32)  # 3x3 by rows: a b u, c d v, x y w
    return int(matrix[0]), int(matrix[1]), int(matrix[3]), int(matrix[4])
