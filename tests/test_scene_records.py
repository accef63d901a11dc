"""Generated scenes as records: clips that play, a split that stays, and runs that go on."""

import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import av
import pytest

from corpus.records import check_records, read_records
from corpus.scene_attributes import named_attributes
from corpus.scene_captions import describe
from corpus.scene_records import SceneSettings, choose_split, scene_record, write_scenes
from corpus.scene_values import Place
from corpus.scenes import HELD_OUT_SEED, sample_scene

ROOT = Path(__file__).parent.parent
SMALL = {"val_share": 0.5, "workers": 1, "height": 16, "width": 16, "fps": 2}


def read_seeds(folder: Path, split: str) -> list[int]:
    return [record.metadata["seed"] for record in read_records(folder / f"{split}.jsonl", check_videos=True)]


def test_every_scene_is_a_playing_clip_with_its_own_caption(tmp_path):
    counts = write_scenes(SceneSettings(tmp_path, 4, seed=20, **SMALL))
    records = [record for split in ("train", "val") for record in read_records(tmp_path / f"{split}.jsonl")]
    assert counts == {"drawn": 4, "train": len(read_seeds(tmp_path, "train")), "val": len(read_seeds(tmp_path, "val"))}
    assert sorted(record.id for record in records) == [f"scene-{seed}" for seed in range(20, 24)]
    for record in records:
        scene = sample_scene(record.metadata["seed"])
        assert record.caption == describe(scene)
        assert record.metadata["duration_s"] == scene.duration_s
        with av.open(record.video) as clip:
            assert len(list(clip.decode(video=0))) == round(scene.duration_s * 2)


@pytest.mark.parametrize("seed", range(30))
def test_the_metadata_agrees_with_what_the_caption_names(seed):
    record = scene_record(sample_scene(seed))
    facts, named = record.metadata, named_attributes(record.caption)
    for name in ("place", "time", "weather", "camera"):
        assert named[name] == {facts[name]}
    assert named["landmark"] == ({facts["landmark"]} if "landmark" in facts else set())
    for name in ("colour", "direction", "speed"):
        assert named[name] == {f"{mover['thing']} {mover[name]}" for mover in facts["movers"] if name in mover}


def test_a_longer_run_continues_a_shorter_one_and_is_like_one_run(tmp_path):
    write_scenes(SceneSettings(tmp_path / "two", 2, **SMALL))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "two" / "videos").iterdir()}
    assert write_scenes(SceneSettings(tmp_path / "two", 5, **SMALL))["drawn"] == 3
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert write_scenes(SceneSettings(tmp_path / "two", 5, **SMALL))["drawn"] == 0
    write_scenes(SceneSettings(tmp_path / "one", 5, **SMALL))
    for split in ("train", "val"):
        assert (tmp_path / "two" / f"{split}.jsonl").read_bytes() == (tmp_path / "one" / f"{split}.jsonl").read_bytes()


def test_scenes_of_places_that_are_left_out_are_passed_over(tmp_path):
    without = set(Place).difference({Place.RAILWAY, Place.FORTRESS})
    settings = SceneSettings(tmp_path, 3, seed=7, **SMALL | {"val_share": 0.0}, without=without)
    assert write_scenes(settings)["train"] == 3
    shown = [seed for seed in range(7, 500) if sample_scene(seed).place not in without]
    assert read_seeds(tmp_path, "train") == shown[:3]
    assert write_scenes(settings)["drawn"] == 0


def test_a_half_row_a_lost_clip_and_an_unfinished_clip_are_made_good(tmp_path):
    settings = SceneSettings(tmp_path, 5, **SMALL | {"val_share": 0.0})
    write_scenes(settings)
    whole = (tmp_path / "train.jsonl").read_bytes()
    (tmp_path / "train.jsonl").write_bytes(whole[:-40])
    (tmp_path / "videos" / "scene-1.mp4").unlink()
    (tmp_path / "videos" / "scene-1.part").write_bytes(b"half a clip")
    assert write_scenes(settings)["drawn"] == 2
    assert (tmp_path / "train.jsonl").read_bytes() == whole
    assert check_records(tmp_path / "train.jsonl", check_videos=True) == []
    assert {path.suffix for path in (tmp_path / "videos").iterdir()} == {".mp4"}


def test_the_split_takes_its_share_and_a_larger_share_keeps_what_a_smaller_had():
    held_out = {share: {s for s in range(4000) if choose_split(s, share) == "val"} for share in (0.0, 0.1, 0.2, 1.0)}
    assert held_out[0.0] == set() and len(held_out[1.0]) == 4000
    assert 320 < len(held_out[0.1]) < 480  # 400 expected, standard deviation 19
    assert held_out[0.1] < held_out[0.2]


def test_many_processes_write_what_one_writes(tmp_path):
    settings = SceneSettings(tmp_path / "one", 4, **SMALL)
    write_scenes(settings)
    write_scenes(replace(settings, output=tmp_path / "many", workers=2))
    for name in ("train.jsonl", "val.jsonl", "videos/scene-0.mp4", "videos/scene-3.mp4"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "many" / name).read_bytes()


LONG_RUN = """
import sys
from pathlib import Path
from corpus.scene_records import SceneSettings, write_scenes
if __name__ == "__main__":
    settings = SceneSettings(Path(sys.argv[1]), 2000, workers=2, height=16, width=16, fps=2)
    write_scenes(settings, show_progress=True)
"""


def test_a_killed_run_leaves_no_process_behind_and_goes_on(tmp_path):
    (tmp_path / "run.py").write_text(LONG_RUN)
    command = [sys.executable, str(tmp_path / "run.py"), str(tmp_path / "scenes")]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, env=environment, cwd=tmp_path) as run:
        assert run.stderr
        shown = b""
        while not re.search(rb"\| [1-9]\d*/2000 ", shown):
            piece = run.stderr.read1()
            assert piece, shown.decode()
            shown += piece
        run.send_signal(signal.SIGKILL)
        run.communicate(timeout=60)  # returns when the last process that could write there has ended
    done = len(list(read_records(tmp_path / "scenes" / "train.jsonl")))
    assert done > 0
    small = {"workers": 1, "height": 16, "width": 16, "fps": 2}
    counts = write_scenes(SceneSettings(tmp_path / "scenes", 3, **small))
    assert counts["drawn"] <= 3 and counts["train"] >= done


def test_the_captions_in_the_docs_are_those_of_their_seeds():
    examples = re.findall(r"> \*\*seed (\d+)\*\*: (.+)", (ROOT / "docs" / "data.md").read_text())
    assert len(examples) == 2
    for seed, caption in examples:
        assert caption == describe(sample_scene(int(seed))), "run `python docs/media/scenes.py` again"


def test_scenes_held_out_for_evaluation_are_refused(tmp_path):
    SceneSettings(tmp_path, 10, seed=HELD_OUT_SEED - 10)
    with pytest.raises(ValueError, match="held out"):
        SceneSettings(tmp_path, 10, seed=HELD_OUT_SEED - 9)


@pytest.mark.parametrize("wrong", [{"count": 0}, {"seed": -1}, {"workers": -1}, {"val_share": 1.5}])
def test_settings_that_make_no_sense_are_refused(tmp_path, wrong):
    with pytest.raises(ValueError, match=str(next(iter(wrong.values())))):
        SceneSettings(**{"output": tmp_path, "count": 1} | wrong)
