"""Show a decoded frame as a player does: upright, in display aspect, in RGB, already small."""

import av.video.frame
import av.video.reformatter
import av.video.stream
import numpy as np

MAX_STRETCH = 16  # sample aspect ratios beyond this are broken headers
SCALING = (
    av.video.reformatter.Interpolation.BICUBIC
    | av.video.reformatter.Interpolation.ACCURATE_RND
    | av.video.reformatter.Interpolation.FULL_CHR_H_INT
)


class Picture:
    """How a clip's frames are shown: turned by the display matrix, stretched by the sample aspect ratio.

    Attributes:
        width, height: Size as shown.
        rotation_degrees: Clockwise turn: 0, 90, 180 or 270.
    """

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

    def render(self, frame: av.video.frame.VideoFrame, width: int, height: int) -> np.ndarray:
        """One frame as shown, uint8 `[3, height, width]`, RGB. Memory for a large frame is never taken twice."""
        stored_width, stored_height = (height, width) if self._transposed else (width, height)
        small = self._reformatter.reformat(frame, stored_width, stored_height, "rgb24", interpolation=SCALING)
        image = small.to_ndarray()  # [H, W, 3]
        if self._transposed:
            image = image.swapaxes(0, 1)
        image = image[:: -1 if self._flipped else 1, :: -1 if self._mirrored else 1]
        return image.transpose(2, 0, 1)


def _display_matrix(frame: av.video.frame.VideoFrame) -> tuple[int, int, int, int]:
    data = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return 1, 0, 0, 1
    matrix = np.frombuffer(bytes(data), np.int32)  # 3x3 by rows: a b u, c d v, x y w
    return int(matrix[0]), int(matrix[1]), int(matrix[3]), int(matrix[4])
