"""caption.py on a Ray cluster of two machines, one of whose workers is killed."""

import os
import subprocess
import sys

import psutil
import pytest
from ray.cluster_utils import Cluster
from test_caption_folders import ROOT, SHORT, make_clips, read, start_until

from modeling.caption_lines import CaptionSettings
from modeling.checkpoint_names import EMBEDDED_MODEL
from modeling.clip_reading import Clip
from serving.caption_engines import EngineError

pytestmark = pytest.mark.slow
NODE = {"num_cpus": 1, "object_store_memory": 100 << 20}


@pytest.fixture
def cluster():
    cluster = Cluster(initialize_head=True, head_node_args=NODE)
    try:
        cluster.add_node(**NODE)
        yield cluster
    finally:
        cluster.shutdown()


def called(process: psutil.Process) -> str:
    return " ".join(process.info["cmdline"] or [])  # None where it has just ended


def test_every_clip_is_captioned_once_though_a_worker_is_killed(cluster, tmp_path):
    folder, path = tmp_path / "clips", tmp_path / "captions.jsonl"
    names = make_clips(folder, 20)
    command = [sys.executable, "caption.py", folder, "--out", path, "--batch-size", "2", *SHORT]
    with start_until([*command, "--ray"], path, 2, env=os.environ | {"RAY_ADDRESS": cluster.address}) as run:
        captioners = [process for process in psutil.process_iter(["cmdline"]) if "CaptionActor" in called(process)]
        captioners[0].kill()
        told = run.stderr.read().decode()
    assert len(path.read_bytes().splitlines()) == len(names), told
    rows = read(path)
    assert sorted(rows) == names
    assert run.returncode == 1, told
    assert rows["깨진.mp4"]["error"]["code"] == "E_NOT_VIDEO"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(line for line in lines if b"3.mp4" not in line))
    alone = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)  # without Ray: the same run goes on
    assert alone.returncode == 1, alone.stderr
    assert read(path) == rows


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere"])
def test_a_cluster_that_is_not_there_is_told(address, tmp_path):
    command = [sys.executable, "caption.py", "docs/media/clip.mp4", "--out", tmp_path / "captions.jsonl", "--ray"]
    env = os.environ | {"RAY_ADDRESS": address}
    run = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=200)
    assert run.returncode == 2 and "RAY_ADDRESS를 확인해 주세요" in run.stderr, run.stderr
    assert "Traceback" not in run.stderr and not (tmp_path / "captions.jsonl").exists()


def test_a_machine_with_other_weights_ends_the_run_and_says_so():
    from serving.caption_fleet import CaptionFleet  # takes seconds, which other tests need not wait

    fleet = CaptionFleet(EMBEDDED_MODEL, CaptionSettings(max_new_tokens=4), "transformers", batch_size=1)
    fleet.made_by["revision"] = "another"
    with pytest.raises(EngineError, match="copy the same checkpoint here"):
        list(fleet.caption([Clip(str(ROOT / "docs/media/clip.mp4"))]))
