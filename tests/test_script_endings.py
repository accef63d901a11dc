"""How scripts end: what is expected has a code, a Korean sentence and an exit code; what is not keeps its traceback."""

import errno
import json
import os
import pickle
from pathlib import Path

import pytest
import typer
from safetensors import SafetensorError
from typer.testing import CliRunner

import caption
import score
from configuration.coded_errors_kocap import CodedError
from configuration.disk_writing import DiskError, check_writable, partial_path
from configuration.script_endings import as_coded, coded_ending, exiting_with
from modeling.caption_lines import CaptionSettings, CaptionSettingsError
from modeling.captioner import load_captioner
from modeling.checkpoint_faults import ModelError


def run(main, *arguments: str | Path):
    program = typer.Typer()
    program.command()(main)
    return CliRunner().invoke(program, list(map(str, arguments)))


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "E_DISK"),
        (OSError(errno.EROFS, "Read-only file system", "/media/x"), "E_DISK"),
        (SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"), "E_DISK"),
        (RuntimeError("PytorchStreamWriter failed writing file data/0: file write failed"), "E_DISK"),
        (FileNotFoundError(errno.ENOENT, "No such file", "a.yaml"), "E_FILE"),
        (PermissionError(errno.EACCES, "Permission denied", "a.yaml"), "E_FILE"),
        (OSError(errno.EADDRINUSE, "Address already in use"), "E_ADDRESS"),
        (OSError("Cannot find empty port in range: 7860-7860"), "E_FILE"),
        (MemoryError(), "E_MEMORY"),
        (ValueError("count is 0; it must be 1 or more."), "E_INPUT"),
        (ModelError("org/x", "it is gone.", "없습니다."), "E_MODEL"),
        (SafetensorError("Error while deserializing header: header too small"), None),
        (RuntimeError("a bug"), None),
        (KeyError("a bug"), None),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_is_expected_has_a_code(error, code):
    coded = as_coded(error)
    assert (coded and coded.code) == code
    if coded:
        assert any("가" <= letter <= "힣" for letter in coded.message_ko)
        again = pickle.loads(pickle.dumps(coded))
        assert (str(again), again.message_ko) == (str(coded), coded.message_ko)


def test_a_script_says_it_korean_first_and_ends_with_its_code():
    @coded_ending(failed=2)
    def main(kind: str) -> None:
        with exiting_with(1, unless=ModelError):
            if kind == "late":
                raise DiskError("/media/x", "a line", "No space left on device", needed_bytes=100)
            if kind == "model":
                raise ModelError("org/x", "it is gone.", "없습니다.")
        raise {"early": CodedError("early, with hf_" + "a" * 34), "bug": RuntimeError("a bug")}[kind]

    codes = {kind: run(main, kind) for kind in ("early", "late", "model", "bug")}
    assert {kind: done.exit_code for kind, done in codes.items()} == {"early": 2, "late": 1, "model": 2, "bug": 1}
    assert isinstance(codes["bug"].exception, RuntimeError), "ours to mend, so it keeps its traceback"
    assert "***" in codes["early"].stderr and "hf_a" not in codes["early"].stderr
    korean, english = codes["late"].stderr.splitlines()
    assert korean.startswith("[E_DISK] /media/x에 쓸 수 없습니다") and "100 B" in korean
    assert english.startswith("  E_DISK: /media/x: a line cannot be written")


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["--frames", "5000"], "E_SETTINGS", "1024"),
        (["--frames", "0"], "E_SETTINGS", "1024"),
        (["--prompt", "<video> 무엇인가요?"], "E_SETTINGS", "<video>"),
        (["--subtitles", "srt"], "E_SETTINGS", "--out"),
        (["--out", "FILE/captions.jsonl"], "E_DISK", "FILE/captions.jsonl"),
        (["--out", "captions.txt"], "E_CAPTIONS", ".jsonl"),
        (["--model", "/nowhere"], "E_MODEL", "/nowhere"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_of_captioning_are_told_before_a_model_is_loaded(arguments, code, told, tmp_path):
    (tmp_path / "FILE").touch()
    (tmp_path / "a.mp4").write_bytes(b"x")
    named = [argument.replace("FILE", str(tmp_path / "FILE")) for argument in arguments]
    done = run(caption.main, tmp_path / "a.mp4", "--model", "/nowhere", *named)
    assert done.exit_code == 2, done.output
    assert done.stdout == "" and f"[{code}]" in done.stderr and told in done.stderr
    assert "E_MODEL" not in done.stderr or code == "E_MODEL"


def test_an_output_that_is_refused_or_a_missing_model_leaves_no_file(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"x")
    done = run(caption.main, tmp_path / "a.mp4", "--model", "/nowhere", "--out", tmp_path / "new" / "captions.jsonl")
    assert done.exit_code == 2 and not list((tmp_path / "new").iterdir())
    with pytest.raises(DiskError):
        check_writable(tmp_path / "a.mp4" / "captions.jsonl")


def test_scoring_finds_the_same_mistakes(tmp_path):
    row = {"id": "1", "video": "a.mp4", "caption": "바다가 보입니다."}
    (tmp_path / "data.jsonl").write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    told = ["--model", "/nowhere", "--data", tmp_path / "data.jsonl", "--output"]
    for more, code in (([tmp_path, "--frames", "5000"], "E_SETTINGS"), ([tmp_path / "data.jsonl" / "x"], "E_DISK")):
        done = run(score.main, *told, *more)
        assert done.exit_code == 1 and f"[{code}]" in done.stderr, done.output


def test_frames_that_a_model_cannot_see_are_refused_or_told(tiny_checkpoint):
    pipe = load_captioner(str(tiny_checkpoint))
    sees = pipe.model.config.text_config.max_position_embeddings
    per_frame = pipe.processor.tokens_per_frame
    with pytest.raises(CaptionSettingsError, match=f"the model sees {sees}"):
        CaptionSettings(num_frames=sees // per_frame).check(pipe)
    (notice,) = CaptionSettings(num_frames=(sees - 400) // per_frame).check(pipe)
    assert notice.code == "W_CONTEXT" and notice.severity == "warning" and "줄이거나" in notice.message_ko
    assert CaptionSettings(num_frames=4).check(pipe) == []
    pipe.processor.video_processor.fps, pipe.processor.video_processor.max_frames = 2.0, sees
    assert [notice.code for notice in CaptionSettings().check(pipe)] == ["W_CONTEXT"], "most clips are shorter"


def test_unfinished_files_have_names_that_fit(tmp_path):
    for length in (10, 246, 250, 255):
        partial = partial_path(tmp_path / ("x" * length))
        assert len(os.fsencode(partial.name)) <= 255
        partial.touch()
    assert partial_path(tmp_path / "a.json").name == "a.json.partial"
