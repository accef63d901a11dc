"""train.py on small models: what moves, what is left behind, and what happens when a run is hurt."""

import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from loopback_hub import LoopbackHub
from peft import PeftModel
from record_files import records_of, write_clips, write_image
from safetensors.torch import load_file
from small_models import small_pair
from transformers import AutoProcessor

import training.feature_settings as feature_settings
import training.stages as stages
from modeling.modeling_kocap import KoCapForConditionalGeneration
from serving.vllm_preflight import check_folder
from train import COLLAPSED, TOLD_TO_STOP, main
from training.checkpoints import FILE_LIST, step_of
from training.collapse_signs import Look
from training.collapse_watch import LOOKS_FILE, read_looks
from training.run_settings import SettingsError
from training.trainer import KoCapTrainer, NonFiniteLossError, halve_batch

ROOT = Path(__file__).resolve().parent.parent
QUICK = ["--per_device_train_batch_size", "2", "--gradient_accumulation_steps", "1", "--watch_every", "0"]
ONE_THREAD = {"OMP_NUM_THREADS": "1"}  # as conftest.py has it here: sums come out alike to the last bit
BRIDGE = "model.multi_modal_projector."


@pytest.fixture(scope="module")
def room(tmp_path_factory) -> Path:
    """A checkpoint, 8 clips to train on and 4 to look at."""
    folder = tmp_path_factory.mktemp("room")
    model, processor = small_pair()
    model.save_pretrained(folder / "model")
    processor.save_pretrained(folder / "model")
    (folder / "clips").mkdir()
    records = records_of(write_clips(folder / "clips", 12))
    for name, part in (("train", records[:8]), ("val", records[8:])):
        rows = (json.dumps(record.row(), ensure_ascii=False) + "\n" for record in part)
        (folder / f"{name}.jsonl").write_text("".join(rows), encoding="utf-8")
    return folder


def flags(room: Path, output: Path, *more: str) -> list[str]:
    told = ["--preset", "cpu", "--model", str(room / "model"), "--data", str(room / "train.jsonl")]
    told += ["--eval_data", str(room / "val.jsonl"), "--output", str(output)]
    return [*told, *QUICK, *more]


def adapter_weights(output: Path) -> dict[str, torch.Tensor]:
    return load_file(output / "adapter" / "adapter_model.safetensors")


def assert_equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_both_stages_move_what_they_should_and_leave_what_loads(room, tmp_path, capsys, monkeypatch):
    digests, weights_digest = [], feature_settings.weights_digest
    monkeypatch.setattr(feature_settings, "weights_digest", lambda tower: digests.append(1) or weights_digest(tower))
    assert main(flags(room, tmp_path, "--max_steps", "2", "--rank", "2")) == 0
    before, after = (load_file(folder / "model.safetensors") for folder in (room / "model", tmp_path / "base"))
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {name for name in before if name.startswith(BRIDGE)}
    base = KoCapForConditionalGeneration.from_pretrained(tmp_path / "base")
    model = PeftModel.from_pretrained(base, tmp_path / "adapter")
    assert model.peft_config["default"].r == 2
    assert any(weight.any() for name, weight in adapter_weights(tmp_path).items() if "lora_B" in name)
    AutoProcessor.from_pretrained(tmp_path / "adapter")
    assert check_folder(tmp_path / "adapter").servable  # its base is a bundle
    for folder in ("base", "adapter"):
        assert "train.py" in (tmp_path / folder / "README.md").read_text(encoding="utf-8")
    assert "학습" in capsys.readouterr().out
    assert len(digests) == len(list((tmp_path / "features").glob("*/settings.json"))) == 1  # read once in a run
    facts = json.loads((tmp_path / "caption" / "finished.json").read_text())
    assert facts["step_s"] > 0 and facts["peak_gib"] > 0


def test_full_training_leaves_a_whole_model_and_the_tower_alone(room, tmp_path):
    assert main(flags(room, tmp_path, "--max_steps", "2", "--adapter", "full", "--stage", "caption")) == 0
    before, after = (load_file(folder / "model.safetensors") for folder in (room / "model", tmp_path / "model"))
    still = {name for name in before if torch.equal(before[name], after[name])}
    assert still == {name for name in before if ".vision_tower." in name}


def test_images_and_videos_train_together(room, tmp_path):
    images = [write_image(tmp_path / f"photo-{seed}.png", seed=seed) for seed in range(3)]
    rows = [json.dumps(record.row(), ensure_ascii=False) + "\n" for record in records_of(images)]
    (tmp_path / "photos.jsonl").write_text("".join(rows), encoding="utf-8")
    steps = ["--max_steps", "3", "--stage", "align", "--per_device_train_batch_size", "4"]
    command = flags(room, tmp_path / "out", *steps)
    at = command.index("--data") + 2
    assert main([*command[:at], str(tmp_path / "photos.jsonl"), *command[at:]]) == 0
    assert json.loads((tmp_path / "out" / "align" / "finished.json").read_text())["train"] == 11


def test_the_cache_changes_no_weight(room, tmp_path):
    for name, cache in (("with", str(tmp_path / "features")), ("without", "none")):
        command = flags(room, tmp_path / name, "--max_steps", "3", "--stage", "align", "--feature_cache", cache)
        assert main(command) == 0
    first, second = (load_file(tmp_path / name / "base" / "model.safetensors") for name in ("with", "without"))
    torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-5)


def test_a_resumed_run_ends_bit_by_bit_as_one_that_never_stopped(room, tmp_path):
    steps = ["--max_steps", "7", "--save_steps", "3", "--save_total_limit", "9", "--stage", "caption"]
    # 4 steps an epoch, so it goes on from within the first
    assert main(flags(room, tmp_path / "whole", *steps)) == 0
    shutil.copytree(tmp_path / "whole" / "caption" / "checkpoint-3", tmp_path / "again" / "caption" / "checkpoint-3")
    assert main(flags(room, tmp_path / "again", *steps, "--resume", "auto")) == 0
    assert_equal(adapter_weights(tmp_path / "whole"), adapter_weights(tmp_path / "again"))


@pytest.mark.parametrize("stage", ["align", "caption"])
def test_a_run_outlives_the_checkpoint_that_it_resumed_from(room, tmp_path, stage):
    steps = ["--max_steps", "6", "--save_steps", "2", "--stage", stage]
    assert main(flags(room, tmp_path / "whole", *steps, "--save_total_limit", "9")) == 0
    shutil.copytree(tmp_path / "whole" / stage / "checkpoint-2", tmp_path / "again" / stage / "checkpoint-2")
    assert main(flags(room, tmp_path / "again", *steps, "--save_total_limit", "1", "--resume", "auto")) == 0
    assert not (tmp_path / "again" / stage / "checkpoint-2").exists()
    assert json.loads((tmp_path / "again" / stage / "finished.json").read_text(encoding="utf-8"))["step_s"] > 0


def test_a_dry_run_of_the_tiny_recipe_touches_nothing(tmp_path, capsys):
    assert main(["--preset", "tiny", "--output", str(tmp_path / "tiny"), "--dry-run", "--clips", "32"]) == 0
    assert list(tmp_path.iterdir()) == []
    assert "32개" in capsys.readouterr().out


def test_half_a_checkpoint_is_not_resumed_from(room, tmp_path, caplog):
    steps = ["--max_steps", "4", "--save_steps", "2", "--stage", "caption", "--seed", "3"]
    assert main(flags(room, tmp_path / "whole", *steps)) == 0
    run = tmp_path / "again" / "caption"
    shutil.copytree(tmp_path / "whole" / "caption", run)
    (run / "finished.json").unlink()
    (run / "checkpoint-4" / "adapter_model.safetensors").unlink()
    assert main(flags(room, tmp_path / "again", *steps, "--resume", "auto")) == 0
    assert "checkpoint-4 is incomplete" in caplog.text
    assert_equal(adapter_weights(tmp_path / "whole"), adapter_weights(tmp_path / "again"))


def test_an_earlier_run_is_never_written_over(room, tmp_path):
    steps = ["--max_steps", "1", "--stage", "caption"]
    assert main(flags(room, tmp_path, *steps)) == 0
    with pytest.raises(SettingsError, match="--resume auto"):
        main(flags(room, tmp_path, *steps))
    assert main(flags(room, tmp_path, *steps, "--resume", "auto")) == 0  # it had ended: nothing to do


@pytest.mark.slow
def test_sigterm_saves_and_the_run_goes_on_bit_by_bit(room, tmp_path):
    steps = ["--max_steps", "150", "--save_steps", "1000", "--stage", "caption"]
    steps += ["--dataloader_num_workers", "1", "--dataloader_persistent_workers", "true"]
    assert main(flags(room, tmp_path / "whole", *steps)) == 0
    said, returned = told_to_stop("train.py", *flags(room, tmp_path / "again", *steps, "--logging_steps", "1"))
    assert returned == TOLD_TO_STOP, said
    assert "--resume auto" in said
    assert not (tmp_path / "again" / "adapter").exists()
    assert main(flags(room, tmp_path / "again", *steps, "--resume", "auto")) == 0
    assert_equal(adapter_weights(tmp_path / "whole"), adapter_weights(tmp_path / "again"))


def test_a_loss_that_is_no_number_stops_the_run_loudly(room, tmp_path):
    with pytest.raises(NonFiniteLossError, match=r"E_NAN: the loss is (nan|inf) at step") as caught:
        wild = ["--learning_rate", "1e30", "--warmup_steps", "0"]
        main(flags(room, tmp_path, "--max_steps", "9", "--stage", "align", *wild))
    assert "학습률" in caught.value.message_ko
    assert not (tmp_path / "align" / "finished.json").exists()


def test_bad_clips_are_left_out_and_counted_and_strict_stops(room, tmp_path, capsys):
    bad = shutil.copytree(room, tmp_path / "bad")
    rows = (bad / "train.jsonl").read_text(encoding="utf-8").replace(str(room), str(bad))
    (bad / "train.jsonl").write_text(rows, encoding="utf-8")
    (bad / "clips" / "1.mp4").write_bytes(b"")
    (bad / "clips" / "2.mp4").unlink()
    steps = ["--max_steps", "2", "--stage", "align"]
    assert main(flags(bad, tmp_path / "out", *steps)) == 0
    said = capsys.readouterr().out
    assert "2개" in said and "E_EMPTY 1" in said
    assert json.loads((tmp_path / "out" / "align" / "finished.json").read_text())["bad_samples"] == 2
    with pytest.raises(SettingsError, match="2 clips cannot be read"):
        main(flags(bad, tmp_path / "strict", *steps, "--strict"))


def test_out_of_memory_halves_the_batch_and_keeps_the_step(room, tmp_path, monkeypatch, caplog):
    class SmallDevice(KoCapTrainer):
        """Holds two clips at once."""

        def compute_loss(self, model, inputs, *args, **kwargs):
            if len(inputs["input_ids"]) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
            return super().compute_loss(model, inputs, *args, **kwargs)

    steps = ["--max_steps", "2", "--stage", "align", "--per_device_train_batch_size"]
    assert main(flags(room, tmp_path / "fits", *steps, "2", "--gradient_accumulation_steps", "4")) == 0
    monkeypatch.setattr(stages, "KoCapTrainer", SmallDevice)
    assert main(flags(room, tmp_path / "halved", *steps, "8")) == 0
    assert caplog.text.count("out of memory") == 2  # 8, 4, 2
    first, second = (load_file(tmp_path / name / "base" / "model.safetensors") for name in ("fits", "halved"))
    torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-5)


def test_a_clip_that_never_fits_is_said_with_a_way_out(room, tmp_path, monkeypatch):
    class NoDevice(KoCapTrainer):
        """Holds nothing."""

        def compute_loss(self, model, inputs, *args, **kwargs):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    monkeypatch.setattr(stages, "KoCapTrainer", NoDevice)
    with pytest.raises(SettingsError, match="--num_frames"):
        main(flags(room, tmp_path, "--max_steps", "2", "--stage", "align"))


@pytest.mark.parametrize(("batch", "accumulation"), [(8, 2), (7, 1), (3, 3), (2, 1), (1, 5)])
def test_a_halved_batch_sees_no_fewer_items_a_step(batch, accumulation):
    smaller, more = halve_batch(batch, accumulation)
    assert 1 <= smaller <= max(1, batch // 2)
    assert batch * accumulation <= smaller * more < batch * accumulation + smaller


def test_no_secret_and_no_pickled_settings_are_left_behind(room, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_canary")
    assert main(flags(room, tmp_path, "--max_steps", "2", "--save_steps", "1")) == 0
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not [path for path in files if b"hf_canary" in path.read_bytes()]
    assert not [path for path in files if path.name == "training_args.bin"]
    weights = [path.name for path in files if re.search(r"model.*\.(bin|pt|pth|safetensors)$", path.name)]
    assert all(name.endswith(".safetensors") for name in weights)


def test_a_dry_run_plans_and_writes_nothing(tmp_path, capsys):
    assert main(["--preset", "t4", "--output", str(tmp_path / "out"), "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "Qwen/Qwen3-4B-Instruct-2507" in said and "qlora" in said and "GiB" in said
    assert not (tmp_path / "out").exists()


def test_an_adapter_other_than_the_presets_is_planned_as_it_is_loaded(tmp_path, capsys):
    totals = {}
    for preset, kind in itertools.product(("cpu", "t4"), ("lora", "qlora")):
        assert main(["--preset", preset, "--adapter", kind, "--output", str(tmp_path), "--dry-run"]) == 0
        totals[preset, kind] = float(re.search(r"([\d.]+) GiB  합계", capsys.readouterr().out)[1])
    assert all(totals[preset, "qlora"] < totals[preset, "lora"] for preset in ("cpu", "t4"))


def test_captioning_needs_something_aligned(room, tmp_path):
    command = ["--data", str(room / "train.jsonl"), "--output", str(tmp_path / "out"), "--stage", "caption"]
    with pytest.raises(SettingsError, match="--stage align"):
        main([*command, *QUICK])


def test_the_watch_reports_while_the_run_goes_on(room, tmp_path):
    command = flags(room, tmp_path, "--max_steps", "2", "--stage", "align")
    assert main([*command, "--watch_every", "1", "--watch_clips", "4"]) in (0, COLLAPSED)
    report = tmp_path / "align" / "report"
    assert (report / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert "영상 의존도" in (report / "report.md").read_text(encoding="utf-8")
    look = json.loads((tmp_path / "align" / "finished.json").read_text())["look"]
    assert 0 <= look["meteor"] <= 1 and "kiwi" in look["meteor_signature"]
    assert "meteor" in (tmp_path / "base" / "README.md").read_text(encoding="utf-8").lower()


def watched_run(room: Path, output: Path, tool: str, monkeypatch) -> list[Look]:
    """What the watch saw in a run that reports to `tool`."""
    monkeypatch.setattr(stages, "CAPTION_TOKENS", 8)  # an untrained model never ends
    command = flags(room, output, "--max_steps", "2", "--stage", "align", "--report_to", tool)
    assert main([*command, "--watch_every", "1", "--watch_clips", "4"]) in (0, COLLAPSED)
    looks = read_looks(output / "align" / "report" / LOOKS_FILE)
    assert [look.step for look in looks] == [0, 1, 2]
    return looks


def test_tensorboard_gets_every_number_of_the_watch(room, tmp_path, monkeypatch):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    looks = watched_run(room, tmp_path, "tensorboard", monkeypatch)
    (file,) = tmp_path.rglob("events.out.tfevents.*")
    told = events.EventAccumulator(str(file.parent)).Reload()
    for name in {"watch/video_dependence", "watch/unique", "watch/meteor", *looks[0].numbers()}:
        seen = {event.step: event.value for event in told.Scalars(f"train/{name}")}
        assert seen == pytest.approx({look.step: look.numbers()[name] for look in looks})


def test_trackio_gets_every_number_of_the_watch(room, tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))  # read when it is imported
    storage = pytest.importorskip("trackio.sqlite_storage").SQLiteStorage
    looks = watched_run(room, tmp_path / "out", "trackio", monkeypatch)
    (run,) = storage.get_run_records("huggingface")
    logs = storage.get_logs("huggingface", run["name"])
    for name in {"watch/video_dependence", *looks[0].numbers()}:
        seen = {log["step"]: log[f"train/{name}"] for log in logs if f"train/{name}" in log}
        assert seen == pytest.approx({look.step: look.numbers()[name] for look in looks})


@pytest.mark.slow
def test_a_run_pushes_its_base_and_its_adapter_pinned_to_it(room, tmp_path):
    with LoopbackHub() as hub:
        command = flags(room, tmp_path / "out", "--max_steps", "1", "--push", "org/kocap")
        done = subprocess.run(
            [sys.executable, "train.py", *command],
            cwd=ROOT,
            env=os.environ | hub.environment(tmp_path / "home"),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        pinned = json.loads(hub.files("org/kocap")["adapter_config.json"])
        assert pinned["base_model_name_or_path"] == "org/kocap-base"
        assert pinned["revision"] in done.stdout or re.fullmatch(r"[0-9a-f]{40}", pinned["revision"])
        assert {"modeling_kocap.py", "model.safetensors"} <= set(hub.files("org/kocap-base"))
        assert not [name for name in hub.files("org/kocap") if name.endswith((".pt", ".bin", "_kocap.py"))]


def losses(output: Path, stage: str = "align") -> list[float]:
    state = json.loads((output / stage / "checkpoint-4" / "trainer_state.json").read_text())
    return [entry["loss"] for entry in state["log_history"] if "loss" in entry]


def assert_lists_both_processes(checkpoint: Path) -> None:
    listed = json.loads((checkpoint / FILE_LIST).read_text())
    assert {"rng_state_0.pth", "rng_state_1.pth"} <= set(listed)


def launch(*command: str, **environment: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env=os.environ | ONE_THREAD | environment,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr[-3000:]


def told_to_stop(*command: str, **environment: str) -> tuple[str, int]:
    """What Python says from the first logged step on, where SIGTERM reaches all its processes; and its exit code."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    env = os.environ | ONE_THREAD | environment
    with subprocess.Popen([sys.executable, *command], cwd=ROOT, env=env, start_new_session=True, **pipes) as process:
        for line in process.stdout:
            if "'loss'" in line:
                os.killpg(process.pid, signal.SIGTERM)
                break
        said = process.stdout.read()
    return said, process.returncode


FOUR_STEPS = ["--max_steps", "4", "--logging_steps", "1", "--save_steps", "2"]
ON_CPU = {"ACCELERATE_USE_CPU": "true"}
# `accelerate launch` wants MPI for DDP without GPUs.
DDP = ["torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29611", "train.py"]
FSDP = ["accelerate.commands.launch", "--config_file", "training/launch/fsdp.yaml", "--main_process_port", "29612"]


@pytest.mark.slow
def test_two_processes_learn_what_one_does(room, tmp_path):
    common = [*FOUR_STEPS, "--stage", "align"]
    assert main(flags(room, tmp_path / "one", *common, "--gradient_accumulation_steps", "2")) == 0
    launch(*DDP, *flags(room, tmp_path / "two", *common, "--ddp_backend", "gloo"), **ON_CPU)
    one, two = (load_file(tmp_path / name / "base" / "model.safetensors") for name in ("one", "two"))
    torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-5)
    assert losses(tmp_path / "one") == pytest.approx(losses(tmp_path / "two"), rel=1e-4)
    assert_lists_both_processes(tmp_path / "two" / "align" / "checkpoint-2")
    shutil.copytree(tmp_path / "two" / "align" / "checkpoint-2", tmp_path / "again" / "align" / "checkpoint-2")
    launch(*DDP, *flags(room, tmp_path / "again", *common, "--ddp_backend", "gloo", "--resume", "auto"), **ON_CPU)
    again = load_file(tmp_path / "again" / "base" / "model.safetensors")
    assert_equal(two, again)


@pytest.mark.slow
def test_two_processes_stop_together_and_go_on_bit_by_bit(room, tmp_path):
    steps = ["--max_steps", "150", "--save_steps", "1000", "--stage", "caption", "--ddp_backend", "gloo"]
    launch(*DDP, *flags(room, tmp_path / "whole", *steps), **ON_CPU)
    again = flags(room, tmp_path / "again", *steps, "--logging_steps", "1")
    said, _ = told_to_stop("-m", *DDP, *again, **ON_CPU)
    assert "--resume auto" in said
    (checkpoint,) = (tmp_path / "again" / "caption").glob("checkpoint-*")
    assert step_of(checkpoint) < 150
    assert_lists_both_processes(checkpoint)
    launch(*DDP, *flags(room, tmp_path / "again", *steps, "--resume", "auto"), **ON_CPU)
    assert_equal(adapter_weights(tmp_path / "whole"), adapter_weights(tmp_path / "again"))


@pytest.mark.slow
def test_fsdp_learns_saves_and_resumes_as_one_process_does(room, tmp_path):
    common = [*FOUR_STEPS, "--learning_rate", "1e-3", "--feature_cache", str(tmp_path / "features")]
    assert main(flags(room, tmp_path / "one", *common, "--gradient_accumulation_steps", "2")) == 0
    launch(*FSDP, "tests/fsdp_on_cpu.py", *flags(room, tmp_path / "two", *common))
    checkpoint = tmp_path / "two" / "caption" / "checkpoint-2"
    assert (checkpoint / "pytorch_model_fsdp.bin").is_file()  # it really was FSDP
    assert_lists_both_processes(checkpoint)
    bases = [load_file(tmp_path / name / "base" / "model.safetensors") for name in ("one", "two")]
    torch.testing.assert_close(*bases, rtol=1e-4, atol=1e-5)
    # Adam takes a whole step by the sign of a gradient that is nearly nothing, as those of LoRA's A are at first; the
    # order in which two processes add up settles that sign. So a few numbers may part, by no more than all steps.
    one_process, two_processes = adapter_weights(tmp_path / "one"), adapter_weights(tmp_path / "two")
    assert one_process.keys() == two_processes.keys()
    pairs = [(one_process[name], two_processes[name]) for name in one_process]
    apart = torch.cat([(~torch.isclose(one, two, rtol=1e-3, atol=1e-5)).flatten() for one, two in pairs])
    assert apart.float().mean() < 0.05
    assert max((one - two).abs().max() for one, two in pairs) < 4 * 1e-3
    for stage in ("align", "caption"):
        assert losses(tmp_path / "one", stage) == pytest.approx(losses(tmp_path / "two", stage), rel=1e-4)
    shutil.copytree(checkpoint, tmp_path / "again" / "caption" / "checkpoint-2")
    again = ["--stage", "caption", "--resume", "auto", "--model", str(tmp_path / "two" / "base")]
    launch(*FSDP, "tests/fsdp_on_cpu.py", *flags(room, tmp_path / "again", *common, *again))
    assert_equal(adapter_weights(tmp_path / "two"), adapter_weights(tmp_path / "again"))
