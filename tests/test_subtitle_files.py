"""Subtitles beside videos: where players find them, never over somebody's own."""

from pathlib import Path

import pytest

from modeling.subtitle_files import SubtitleFiles, SubtitleKind

CAPTION = "바다가 보입니다. 파도가 3.5미터까지 밀려옵니다! 하늘은 맑습니다."


def line(video: Path, **change) -> dict:
    return {"file": str(video), "caption": CAPTION, "duration_s": 12.0} | change


@pytest.mark.parametrize("kind", SubtitleKind)
def test_sentences_are_spread_over_the_clip(tmp_path, kind):
    video = tmp_path / "바다.mp4"
    assert SubtitleFiles(kind, [str(video)]).write(line(video)) is None
    text = (tmp_path / f"바다.ko.{kind}").read_text("utf-8")
    assert text.count("-->") == 3
    assert "파도가 3.5미터까지 밀려옵니다!\n" in text
    assert "00:00:00" in text and "00:00:12" in text


def test_videos_that_differ_in_their_ending_have_subtitles_of_their_own(tmp_path):
    videos = [tmp_path / name for name in ("a.mp4", "a.webm", "b.mp4")]
    files = SubtitleFiles(SubtitleKind.SRT, list(map(str, videos)))
    assert [files.path_of(str(video)).name for video in videos] == ["a.mp4.ko.srt", "a.webm.ko.srt", "b.ko.srt"]


def test_a_file_that_is_there_is_left_and_told(tmp_path):
    video, own = tmp_path / "a.mp4", tmp_path / "a.ko.srt"
    own.write_text("대사")
    problem = SubtitleFiles(SubtitleKind.SRT, [str(video)]).write(line(video))
    assert problem.code == "W_SUBTITLES_KEPT"
    assert own.read_text() == "대사"


def test_what_an_earlier_run_left_out_is_written(tmp_path):
    videos = [tmp_path / name for name in ("a.mp4", "b.mp4", "c.mp4")]
    rows = [*map(line, videos[:2]), {"file": str(videos[2]), "error": {"code": "E_EMPTY"}}, line(Path("/other/d.mp4"))]
    files = SubtitleFiles(SubtitleKind.SRT, list(map(str, videos)))
    (tmp_path / "a.ko.srt").write_text("대사")
    assert list(files.write_rest(rows)) == []
    assert (tmp_path / "a.ko.srt").read_text() == "대사"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.ko.srt", "b.ko.srt"]


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    video = tmp_path / "gone" / "a.mp4"
    problem = SubtitleFiles(SubtitleKind.VTT, [str(video)]).write(line(video))
    assert problem.code == "E_SUBTITLES"
    assert "a.ko.vtt" in problem.message_ko


def test_a_name_that_is_too_long_for_subtitles_costs_no_more_than_them(tmp_path):
    video = tmp_path / ("가" * 83 + "x.mp4")  # 254 bytes; with .ko.srt 257
    files = SubtitleFiles(SubtitleKind.SRT, [str(video)])
    problem = files.write(line(video))
    assert (problem.code, problem.severity) == ("E_SUBTITLES", "error") and "name too long" in str(problem)
    again = SubtitleFiles(SubtitleKind.SRT, [str(video)])
    assert [problem.code for problem in again.write_rest([line(video)])] == ["E_SUBTITLES"]
