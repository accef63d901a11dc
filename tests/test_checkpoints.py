"""Nothing resumes from half a checkpoint; weights are written into a checkpoint's own shards."""

import shutil

import pytest
import torch
from safetensors.torch import load_file
from small_models import small_pair
from transformers import TrainerState

from modeling.modeling_kocap import KoCapForConditionalGeneration
from training.base_checkpoint import copy_checkpoint, write_weights
from training.checkpoints import FILE_LIST, find_resumable, mark_complete, missing_files, step_of


@pytest.fixture
def run(tmp_path):
    """Two complete checkpoints of a run."""
    for step in (90, 100):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"weights")
        (folder / "optimizer.pt").write_bytes(b"moments")
        mark_complete(folder)
    return tmp_path


def test_the_newest_by_number_is_resumed(run):
    assert find_resumable(run) == run / "checkpoint-100"
    (run / "checkpoint-notes").mkdir()
    assert find_resumable(run) == run / "checkpoint-100"


def test_a_checkpoint_knows_its_step_whatever_it_is_called(tmp_path):
    TrainerState(global_step=90).save_to_json(str(tmp_path / "trainer_state.json"))
    assert (step_of(tmp_path), step_of(None)) == (90, 0)


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt", FILE_LIST])
def test_a_checkpoint_that_lacks_a_file_is_passed_over_and_named(run, name, caplog):
    (run / "checkpoint-100" / name).unlink()
    assert find_resumable(run) == run / "checkpoint-90"
    assert "checkpoint-100 is incomplete" in caplog.text
    assert name in caplog.text


def test_a_file_that_was_cut_short_counts_as_missing(run):
    (run / "checkpoint-100" / "model.safetensors").write_bytes(b"weig")
    assert missing_files(run / "checkpoint-100") == ["model.safetensors"]
    assert find_resumable(run) == run / "checkpoint-90"


def test_what_a_killed_save_leaves_is_no_checkpoint(run):
    folder = run / "checkpoint-110"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    assert find_resumable(run) == run / "checkpoint-100"


def test_a_run_without_checkpoints_begins_anew(tmp_path):
    assert find_resumable(tmp_path) is None
    assert find_resumable(tmp_path / "absent") is None


@pytest.mark.parametrize("shard_size", ["50GB", "40KB"])
def test_written_weights_are_there_and_all_others_stay(tmp_path, shard_size):
    model, processor = small_pair()
    model.to(torch.bfloat16).save_pretrained(tmp_path / "base", max_shard_size=shard_size)
    processor.save_pretrained(tmp_path / "base")
    name = "model.multi_modal_projector.0.weight"
    new = torch.randn_like(model.state_dict()[name], dtype=torch.float32)
    write_weights(tmp_path / "base", {name: new})
    loaded = KoCapForConditionalGeneration.from_pretrained(tmp_path / "base").state_dict()
    for key, weight in model.state_dict().items():
        assert torch.equal(loaded[key], new.bfloat16() if key == name else weight)


def test_an_unknown_weight_is_refused_and_nothing_is_written(tmp_path):
    model, _ = small_pair()
    model.save_pretrained(tmp_path)
    before = load_file(tmp_path / "model.safetensors")
    with pytest.raises(KeyError):
        write_weights(tmp_path, {"model.nothing": torch.zeros(1)})
    after = load_file(tmp_path / "model.safetensors")
    assert before.keys() == after.keys()


def test_a_copy_leaves_pickles_behind_and_is_made_once(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for name in ("config.json", "model.safetensors", "training_args.bin", "optimizer.pt"):
        (source / name).write_bytes(b"x")
    copy = copy_checkpoint(str(source), tmp_path / "copy")
    assert sorted(path.name for path in copy.iterdir()) == ["config.json", "model.safetensors"]
    (copy / "config.json").write_bytes(b"mine")
    shutil.rmtree(source)
    assert (copy_checkpoint(str(source), tmp_path / "copy") / "config.json").read_bytes() == b"mine"
