"""Settings come from the preset, a YAML file and flags, in this order; what does not go together is refused."""

import json

import pytest

from corpus.records import RecordError, caption_record
from training.run_records import hold_out, read_all
from training.run_settings import CHECKPOINTING, SettingsError, as_yaml, parse_settings, stage_arguments
from training.run_start import check_stages


def arguments(*flags: str, stage: str = "caption"):
    settings, rest = parse_settings(["--output", "out", *flags])
    return stage_arguments(settings, stage, rest)


def test_a_preset_says_what_nobody_sets():
    settings, rest = parse_settings(["--output", "out", "--preset", "t4"])
    assert (settings.kind, settings.rank_or_tier, settings.stages) == ("qlora", 8, ("align", "caption"))
    align, caption = (stage_arguments(settings, stage, rest) for stage in settings.stages)
    assert (align.learning_rate, caption.learning_rate) == (1e-3, 5e-5)
    assert align.per_device_train_batch_size * align.gradient_accumulation_steps == 16
    assert getattr(align, CHECKPOINTING)
    assert align.output_dir != caption.output_dir
    assert align.warmup_steps == 0.1


def test_any_training_argument_wins_over_the_preset():
    told = arguments("--preset", "t4", "--learning_rate", "2e-4", "--num_train_epochs", "3", "--weight_decay", "0.1")
    assert (told.learning_rate, told.num_train_epochs, told.weight_decay) == (2e-4, 3, 0.1)


def test_a_yaml_file_is_as_good_as_flags_and_a_flag_wins_over_it(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text(
        "output: out\npreset: l4\ndata: [a.jsonl, b.jsonl]\nstrict: true\nlearning_rate: 1e-4\nnum_frames: 4\n"
        "lr_scheduler_kwargs: {num_cycles: 0.4}\n"
    )
    settings, rest = parse_settings([str(path), "--num_frames", "6"])
    assert settings.data == ["a.jsonl", "b.jsonl"]
    assert (settings.preset, settings.strict, settings.num_frames) == ("l4", True, 6)
    told = stage_arguments(settings, "align", rest)
    assert told.learning_rate == 1e-4
    assert told.lr_scheduler_kwargs == {"num_cycles": 0.4}


TOLD = [
    *("--output", "out", "--preset", "l4", "--data", "a.jsonl", "b.jsonl", "--rank", "4", "--strict"),
    *("--learning_rate", "1e-4", "--weight-decay", "0.10", "--max_steps=7", "--seed", "-1", "--bf16", "False"),
    *("--lr_scheduler_kwargs", '{"num_cycles": 0.4}', "--label_names", "labels", "more", "--run_name", "하늘: 1"),
    *("--no_skip_memory_metrics", "--tf32", "no", "--logging_first_step", "--report_to", "tensorboard"),
]


def outcome(argv: list[str]):
    """All that a command line settles."""
    settings, rest = parse_settings(argv)
    return settings, [stage_arguments(settings, stage, rest).to_dict() for stage in settings.stages]


def write_settings(path, argv: list[str]) -> str:
    path.write_text(as_yaml(*parse_settings(argv)), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("told", [TOLD[:9], TOLD])
def test_written_settings_repeat_the_run(tmp_path, told):
    written = write_settings(tmp_path / "settings.yaml", told)
    assert outcome([written]) == outcome(told)
    again = write_settings(tmp_path / "again.yaml", [written])
    assert (tmp_path / "again.yaml").read_text() == (tmp_path / "settings.yaml").read_text()
    assert outcome([again]) == outcome(told)


def test_a_flag_wins_over_written_settings_and_is_written_in_their_place(tmp_path):
    written = write_settings(tmp_path / "settings.yaml", TOLD)
    more = ["--learning_rate", "3e-4", "--skip-memory-metrics", "--label_names", "labels", "--rank", "2"]
    settings, (told, _) = outcome([written, *more])
    assert (settings.rank, told["learning_rate"], told["max_steps"]) == (2, 3e-4, 7)
    assert (told["skip_memory_metrics"], told["label_names"]) == (True, ["labels"])
    rewritten = write_settings(tmp_path / "again.yaml", [written, *more])
    assert outcome([rewritten]) == outcome([written, *more])
    assert (tmp_path / "again.yaml").read_text().count("learning_rate") == 1


@pytest.mark.parametrize("text", ["- a\n- b\n", "{", "just words"])
def test_a_file_without_settings_is_refused(tmp_path, text):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError, match="E_SETTINGS"):
        parse_settings([str(path)])


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SettingsError, match=r"absent\.yaml"):
        parse_settings([str(tmp_path / "absent.yaml")])


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--model", "m", "--vision", "v"], "one or the other"),
        (["--rank", "0"], "at least 1"),
        (["--num_frames", "0"], "at least 1"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(flags, said):
    with pytest.raises(SettingsError, match=said) as caught:
        parse_settings(["--output", "out", *flags])
    assert caught.value.message_ko


def test_an_unknown_flag_is_named():
    with pytest.raises(SettingsError, match="--learning_rat"):
        arguments("--learning_rat", "1e-4")


def test_deepspeed_takes_one_stage_at_a_time():
    align, caption = arguments(stage="align"), arguments(stage="caption")
    check_stages([align, caption])
    align.deepspeed_plugin = caption.deepspeed_plugin = object()
    check_stages([caption])
    with pytest.raises(SettingsError, match="--stage align, then --stage caption") as caught:
        check_stages([align, caption])
    assert "--stage caption" in caught.value.message_ko


@pytest.mark.parametrize("flags", [["--hub_token", "hf_secret"], ["--push_to_hub", "true"]])
def test_a_token_never_reaches_the_trainer(flags):
    with pytest.raises(SettingsError, match="--push ORG/NAME") as caught:
        arguments(*flags)
    assert "hf_secret" not in str(caught.value)


def write_records(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def rows(count):
    return [caption_record(f"r{i}", f"r{i}.mp4", "하늘이 맑습니다.").row() for i in range(count)]


def test_one_record_in_twenty_is_held_out_where_no_file_is(tmp_path):
    records = read_all([write_records(tmp_path / "train.jsonl", rows(100))])
    train, held_out = hold_out(records, None, 32)
    assert (len(train), len(held_out)) == (95, 5)
    assert not {record.id for record in train} & {record.id for record in held_out}
    assert hold_out(records[::-1], None, 32) == (train, held_out)  # whatever the order of rows
    assert hold_out(records[:40], None, 32)[1] == []  # too few to tell anything


def test_a_clip_that_is_trained_on_cannot_be_held_out(tmp_path):
    train = write_records(tmp_path / "train.jsonl", rows(4))
    held_out = write_records(tmp_path / "val.jsonl", [rows(4)[2] | {"id": "other"}])
    with pytest.raises(RecordError, match=r"also trained on.*r2\.mp4"):
        hold_out(read_all([train]), held_out, 32)


def test_ids_must_differ_between_files_too(tmp_path):
    paths = [write_records(tmp_path / name, rows(1)) for name in ("one.jsonl", "two.jsonl")]
    with pytest.raises(RecordError, match=r"id r0 is in two files"):
        read_all(paths)


def test_nothing_to_train_on_is_said():
    with pytest.raises(RecordError, match="--data"):
        read_all(None)
