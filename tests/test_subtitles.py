"""Subtitle files: what is written is what FFmpeg, a browser's grammar and a reader's eye take it for."""

import io
import math
import re

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeling.subtitles import Cue, spread_sentences, to_srt, to_vtt

CUES = [
    Cue(0.0, 1.5, "해안에 파도가 밀려옵니다."),
    Cue(1.5, 3661.25, "첫 줄\n\n둘째 줄 <b> & --> 끝"),
]


def read_packets(text: str, form: str) -> list[tuple[float, float, str]]:
    """What FFmpeg's demuxer makes of a subtitle file: start and end in seconds, and text."""
    with av.open(io.BytesIO(text.encode()), format=form) as container:
        return [
            (float(p.pts * p.time_base), float((p.pts + p.duration) * p.time_base), bytes(p).decode())
            for p in container.demux()
            if p.size
        ]


def test_srt_as_written():
    assert to_srt(CUES) == (
        "1\n00:00:00,000 --> 00:00:01,500\n해안에 파도가 밀려옵니다.\n"
        "\n2\n00:00:01,500 --> 01:01:01,250\n첫 줄\n둘째 줄 <b> & --> 끝\n"
    )


def test_vtt_as_written():
    assert to_vtt(CUES) == (
        "WEBVTT\n"
        "\n00:00:00.000 --> 00:00:01.500\n해안에 파도가 밀려옵니다.\n"
        "\n00:00:01.500 --> 01:01:01.250\n첫 줄\n둘째 줄 &lt;b&gt; &amp; --&gt; 끝\n"
    )


@pytest.mark.parametrize(("write", "form"), [(to_srt, "srt"), (to_vtt, "webvtt")])
def test_ffmpeg_reads_times_and_texts_back(write, form):
    cues = [Cue(0.25, 2.0, "하나"), Cue(2.0, 2.0001, "둘\n셋"), Cue(7200.5, 7201.0, "넷")]
    read = read_packets(write(cues), form)
    assert [(start, end) for start, end, _ in read] == [(0.25, 2.0), (2.0, 2.001), (7200.5, 7201.0)]
    assert [text for *_, text in read] == ["하나", "둘\n셋", "넷"]


def test_no_cues_are_an_empty_file_that_is_still_valid():
    assert to_srt([]) == ""
    assert to_vtt([]) == "WEBVTT\n"


@pytest.mark.parametrize(
    ("start_s", "end_s", "text"),
    [(1, 1, "가"), (2, 1, "가"), (-1, 1, "가"), (math.nan, 1, "가"), (0, math.inf, "가"), (0, 1, " \n")],
)
def test_a_cue_that_no_player_could_show_is_refused(start_s, end_s, text):
    with pytest.raises(ValueError, match="cue"):
        Cue(start_s, end_s, text)


@given(
    st.lists(st.text(st.characters(blacklist_categories=("Cc", "Zl", "Zp", "Cs")), max_size=40), max_size=8),
    st.floats(0, 1e4),
    st.floats(0.01, 1e4),
)
def test_sentences_fill_the_time_without_gaps(sentences, start_s, length_s):
    end_s = start_s + length_s
    cues = spread_sentences(sentences, start_s, end_s)
    assert [cue.text for cue in cues] == [sentence.strip() for sentence in sentences if sentence.strip()]
    if cues:
        edges = [cues[0].start_s, *(cue.end_s for cue in cues)]
        assert edges[0] == start_s and edges[-1] == end_s
        assert [cue.start_s for cue in cues] == edges[:-1]
        assert len(re.findall(r"^\d+$\n.* --> .*$", to_srt(cues), re.MULTILINE)) == len(cues)


def test_longer_sentences_stay_longer():
    short, long = spread_sentences(["가나다", "가나다라마바"], 0, 9)
    assert (short.start_s, short.end_s, long.end_s) == (0, 3, 9)
