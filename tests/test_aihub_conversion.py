"""An AI-Hub download to records."""

import os
import shutil
from pathlib import Path

import pytest
from aihub_tree import CAPTION, clip, cut, label, put, put_pair, read_rows, zip_bytes

from corpus import clip_probing
from corpus.aihub_conversion import AihubSettings, convert
from corpus.aihub_errors import ArchiveError, NoCaptionKeyError, NoClipsError
from corpus.records import read_records


def run(source: Path, output: Path, **more):
    return convert(AihubSettings(source, output, **{"workers": 1, **more}))


def ids(path: Path) -> list[str]:
    return [record.id for record in read_records(path, check_videos=True)]


def rejected(output: Path) -> dict[str, dict]:
    return {row["file"]: row for row in read_rows(output / "rejected.jsonl")}


@pytest.fixture(scope="module")
def download(tmp_path_factory) -> Path:
    """Six good clips, and one of everything that is wrong."""
    root = tmp_path_factory.mktemp("download")
    for seed in range(4):
        more = {"category": {"main": "자연"}, "metadata": {"location": f"장소 {seed}"}}
        put_pair(root, f"clip{seed}", seed, **more)
    for seed in (4, 5):
        put_pair(root, f"clip{seed}", seed, "val", category="시가지")
    put(root / "train/labels/near.json", label())
    put(root / "train/videos/near.mp4", clip(4, near=True))
    put(root / "train/labels/broken.json", '{\n "annotation": {\n  "description_kr": "끊긴\n')
    put(root / "train/videos/broken.mp4", clip(6))
    put(root / "train/labels/keyless.json", {"video_id": "1", "other": {"words": "x"}})
    put(root / "train/videos/keyless.mp4", clip(7))
    put(root / "train/labels/alone.json", label())
    put(root / "val/videos/unlabelled.mp4", clip(8))
    put(root / "train/labels/noise.json", label())
    put(root / "train/videos/noise.mp4", b"no video at all" * 50)
    put(root / "train/labels/marked.json", label("설명 <video> <video>"))
    put(root / "train/videos/marked.mp4", clip(9))
    return root


@pytest.fixture(scope="module")
def converted(download, tmp_path_factory):
    output = tmp_path_factory.mktemp("converted") / "out"
    return output, run(download, output)


def test_good_rows_become_records(converted):
    output, result = converted
    assert ids(output / "train.jsonl") == [f"train/videos/clip{seed}" for seed in range(4)]
    assert ids(output / "val.jsonl") == ["val/videos/clip4", "val/videos/clip5"]
    record = next(iter(read_records(output / "train.jsonl")))
    assert record.caption == CAPTION
    assert record.metadata["category"] == "자연" and record.metadata["location"] == "장소 0"
    assert record.metadata["duration_s"] == pytest.approx(1.0) and record.metadata["width"] == 128
    assert result.counts["train"] == 4 and result.counts["val"] == 2
    assert result.counts["labels"] == 12 and result.counts["videos"] == 12 and result.counts["pairs"] == 11


def test_wrong_rows_are_rejected_with_file_line_and_reason(converted):
    output, result = converted
    rows = rejected(output)
    assert {file: row["code"] for file, row in rows.items()} == {
        "train/videos/near.mp4": "E_DUPLICATE",
        "train/labels/broken.json": "E_LABEL",
        "train/labels/keyless.json": "E_NO_CAPTION_KEY",
        "train/labels/alone.json": "E_NO_CLIP",
        "val/videos/unlabelled.mp4": "E_NO_LABEL",
        "train/videos/noise.mp4": "E_NOT_VIDEO",
        "train/videos/marked.mp4": "E_RECORD",
    }
    assert rows["train/labels/broken.json"]["line"] == 3
    assert "other.words" in rows["train/labels/keyless.json"]["reason"]
    assert "val/videos/clip4.mp4" in rows["train/videos/near.mp4"]["reason"]
    assert result.counts["rejected"] == len(rows)
    page = result.report.read_text()
    for row in rows.values():
        assert row["code"] in page and row["reason_ko"] in page
    assert "`train/labels/broken.json` 3번째 줄" in page


def test_report(converted):
    output, result = converted
    page = result.report.read_text()
    assert "The Open AI Dataset Project (AI-Hub, S. Korea)" in page and "재배포할 수 없습니다" in page
    assert f"| {'자연'} | 4 |" in page and "| 128x80 | 6 |" in page and "추정" in page and "초당" in page
    plots = sorted(path.name for path in (output / "report").iterdir())
    assert plots == ["categories.png", "characters.png", "durations.png", "tokens.png"]
    assert all(f"(report/{name})" in page for name in plots)
    assert not list(output.rglob("*.partial*"))


def test_tokens_are_counted_with_a_tokenizer(download, tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = Tokenizer(models.WordLevel({"?": 0}, unk_token="?"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    words.save(str(tmp_path / "tokenizer.json"))
    page = run(download, tmp_path / "out", tokenizer=str(tmp_path)).report.read_text()
    assert f"| 토큰(Qwen3 토크나이저) | {len(CAPTION.split()):.1f} |" in page and "추정" not in page


def test_a_second_run_probes_nothing_and_writes_the_same(download, converted):
    output, result = converted
    probes, train = (output / "probes.jsonl").read_text(), (output / "train.jsonl").read_text()
    assert len(probes.splitlines()) == 9  # seven labelled and readable clips, noise, marked
    again = run(download, output)
    assert (output / "probes.jsonl").read_text() == probes and (output / "train.jsonl").read_text() == train
    assert again.counts == result.counts
    assert "새로 0개" in again.report.read_text()


def test_a_changed_clip_is_probed_again(tmp_path):
    for seed in range(3):
        put_pair(tmp_path / "in", f"clip{seed}", seed)
    run(tmp_path / "in", tmp_path / "out")
    put(tmp_path / "in/train/videos/clip1.mp4", clip(11, near=True))
    run(tmp_path / "in", tmp_path / "out")
    widths = {record.id[-5:]: record.metadata["width"] for record in read_records(tmp_path / "out/train.jsonl")}
    assert widths == {"clip0": 128, "clip1": 192, "clip2": 128}
    assert len((tmp_path / "out/probes.jsonl").read_text().splitlines()) == 4


def test_an_interrupted_run_leaves_no_records_and_continues(tmp_path, monkeypatch):
    for seed in range(4):
        put_pair(tmp_path / "in", f"clip{seed}", seed)
    probe, probed = clip_probing.probe_clip, []

    def interrupted(path: str):
        probed.append(path)
        if len(probed) == 3:
            raise KeyboardInterrupt
        return probe(path)

    monkeypatch.setattr(clip_probing, "probe_clip", interrupted)
    output = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "in", output)
    assert not list(output.glob("*train*")) and not list(output.glob("*val*")) and not (output / "report.md").exists()
    with (output / "probes.jsonl").open("a") as file:
        file.write('{"path": "half a line')  # what a kill in the middle of a write leaves
    run(tmp_path / "in", output)
    assert len(probed) == 5  # two were kept, the third was tried again, the fourth was new
    assert len(ids(output / "train.jsonl")) == 4


def test_processes_give_what_one_gives(download, converted, tmp_path):
    output, _ = converted
    run(download, tmp_path / "out", workers=2)
    for name in ("train.jsonl", "val.jsonl", "rejected.jsonl"):
        assert (tmp_path / "out" / name).read_text() == (output / name).read_text()


def test_copies_instead_of_links(tmp_path):
    put_pair(tmp_path / "in", "a", 1)
    run(tmp_path / "in", tmp_path / "out")
    assert (tmp_path / "out/videos/train/videos/a.mp4").is_symlink()
    run(tmp_path / "in", tmp_path / "out", link=False)
    shutil.rmtree(tmp_path / "in")
    assert ids(tmp_path / "out/train.jsonl") == ["train/videos/a"]


def test_zips_in_parts_with_labels_apart(tmp_path):
    labels = {f"{seed}.json": b'{"description_kr": "%d"}' % seed for seed in range(3)}
    videos = {f"{seed}.mp4": clip(seed) for seed in range(3)}
    put(tmp_path / "in/1.Training/라벨링데이터/TL_시가지.zip", zip_bytes(labels, cp949=True))
    for number, part in enumerate(cut(zip_bytes(videos), 11)):
        put(tmp_path / f"in/1.Training/원천데이터/TS_시가지.zip.part{number}", part)
    put(
        tmp_path / "in/2.Validation/라벨링데이터/VL_시가지.zip",
        zip_bytes({"하늘/1.json": b'{"caption": "val"}'}, cp949=True),
    )
    put(tmp_path / "in/2.Validation/원천데이터/VS_시가지.zip", zip_bytes({"하늘/1.mp4": clip(20)}, cp949=True))
    result = run(tmp_path / "in", tmp_path / "out")
    captions = {record.id: record.caption for record in read_records(tmp_path / "out/train.jsonl", check_videos=True)}
    assert captions == {f"1.Training/원천데이터/TS_시가지/{seed}": str(seed) for seed in range(3)}
    assert ids(tmp_path / "out/val.jsonl") == ["2.Validation/원천데이터/VS_시가지/하늘/1"]
    assert result.counts["rejected"] == 0


def test_an_incomplete_archive_stops_before_anything_is_extracted(tmp_path):
    put(tmp_path / "in/a.zip", zip_bytes({"a.json": b"{}"}))
    put(tmp_path / "in/b.zip", zip_bytes({"b.json": b"{}"})[:-9])
    with pytest.raises(ArchiveError, match=r"b\.zip"):
        run(tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out/extracted").exists()


@pytest.mark.parametrize("beside", [True, False])
def test_both_layouts_and_equal_stems_in_other_folders(tmp_path, beside):
    for seed, place in enumerate(["시가지", "자연"]):
        folder = tmp_path / "in" / place
        put(folder / ("1.json" if beside else "labels/1.json"), label(place))
        put(folder / ("1.mp4" if beside else "videos/1.mp4"), clip(seed))
    run(tmp_path / "in", tmp_path / "out", val_share=0)
    rows = {record.id.split("/")[0]: record.caption for record in read_records(tmp_path / "out/train.jsonl")}
    assert rows == {"시가지": "시가지", "자연": "자연"}


def test_equal_stems_that_cannot_be_told_apart_are_rejected(tmp_path):
    put_pair(tmp_path / "in", "good", 1)
    put(tmp_path / "in/labels/1.json", label())
    put(tmp_path / "in/a/1.mp4", clip(2))
    put(tmp_path / "in/b/1.mp4", clip(3))
    run(tmp_path / "in", tmp_path / "out")
    rows = rejected(tmp_path / "out")
    assert {row["code"] for row in rows.values()} == {"E_AMBIGUOUS"} and len(rows) == 3
    assert "a/1.mp4, b/1.mp4" in rows["labels/1.json"]["reason"]


def test_places_are_not_divided_where_no_split_is_given(tmp_path):
    for seed in range(12):
        name = f"clip{seed}"
        put(tmp_path / "in" / f"{name}.json", label(metadata={"location": f"장소 {seed % 4}"}))
        put(tmp_path / "in" / f"{name}.mp4", clip(seed))
    result = run(tmp_path / "in", tmp_path / "out", val_share=0.3)
    places = [
        {record.metadata["location"] for record in read_records(tmp_path / "out" / f"{split}.jsonl")}
        for split in ("train", "val")
    ]
    assert result.counts["val"] == 3 and not places[0] & places[1]


def test_no_caption_anywhere_stops_with_the_keys_seen(tmp_path):
    for seed in range(2):
        put(tmp_path / f"in/{seed}.json", {"annotation": {"문장": "x"}})
        put(tmp_path / f"in/{seed}.mp4", clip(seed))
    with pytest.raises(NoCaptionKeyError, match=r"in 2 of 2 labels .*annotation\.문장"):
        run(tmp_path / "in", tmp_path / "out")
    assert not list((tmp_path / "out").glob("*.jsonl"))
    assert run(tmp_path / "in", tmp_path / "out", caption_key="annotation.문장").counts["pairs"] == 2


def test_nothing_to_convert(tmp_path):
    put(tmp_path / "in/readme.txt", "x")
    with pytest.raises(NoClipsError, match="no labels and no videos"):
        run(tmp_path / "in", tmp_path / "out")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"source": "missing"}, "must be a folder"),
        ({"output": "."}, "choose another"),
        ({"val_share": 1.0}, "val_share"),
        ({"workers": -1}, "workers"),
        ({"caption_key": " "}, "caption_key"),
        ({"tokenizer": "missing"}, r"tokenizer\.json"),
    ],
)
def test_settings_are_checked(tmp_path, change, reason):
    paths = {name: tmp_path / change[name] for name in ("source", "output") if name in change}
    values = {"source": tmp_path, "output": tmp_path / "out", **change, **paths}
    with pytest.raises(ValueError, match=reason):
        AihubSettings(**values)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="makes FIFOs")
def test_fifos_are_left_out_and_never_opened(tmp_path):
    put_pair(tmp_path / "in", "1", 1)
    for name in ("f.zip", "g.zip.part0", "train/labels/2.json", "train/videos/2.mp4"):
        os.mkfifo(tmp_path / "in" / name)
    assert run(tmp_path / "in", tmp_path / "out").counts["train"] == 1
    assert [row["code"] for row in rejected(tmp_path / "out").values()] == ["E_NOT_FILE"] * 4


@pytest.mark.parametrize("link", [True, False])
def test_clips_with_the_longest_names_are_linked_and_copied(tmp_path, link):
    name = "가" * 83 + "x"  # 254 bytes with .mp4, 255 with .json
    put_pair(tmp_path / "in", name, 1)
    assert run(tmp_path / "in", tmp_path / "out", link=link).counts["train"] == 1
    assert ids(tmp_path / "out/train.jsonl") == [f"train/videos/{name}"]
