"""What records are about: the frames of their video, or their image."""

from record_files import write_image
from small_models import small_processor

from training.record_media import Source, read_source


def test_an_image_is_one_frame_without_a_time(tmp_path):
    path = write_image(tmp_path / "a.png")
    frames, times_s = read_source(Source("a", str(path), "image"), small_processor())
    assert frames.shape == (1, 3, 40, 50) and times_s is None
