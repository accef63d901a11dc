"""Damaged checkpoints and strangers' code through every script: a coded error, its exit code, and never a traceback."""

import json
from pathlib import Path

import pytest
from broken_checkpoints import BROKEN, STRANGERS, broken, strangers
from forked_scripts import run_scripts
from record_files import records_of, write_clips

SCRIPTS = {"caption": 2, "serve": 2, "app": 1, "score": 1, "train": 1, "publish": 1}  # and their exit codes
# serve, app and publish start a process or a page before they find these, by what they share with the others.
FOUND_LATE = ("weights: some missing", "template: bad", "tokenizer: no vision tokens")
NOT_TRIED = dict.fromkeys(("serve", "app", "publish"), FOUND_LATE)

TRUSTING = ("caption", "serve", "score", "train")  # by a flag; app by its environment

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def room(tiny_checkpoint, tmp_path_factory) -> Path:
    """Every kind of checkpoint in a folder of its own, and records of clips."""
    folder = tmp_path_factory.mktemp("broken")
    for kind in BROKEN:
        broken(tiny_checkpoint, kind, folder / name_of(kind))
    for kind in STRANGERS:
        strangers(tiny_checkpoint, kind, folder / f"theirs-{kind}", folder / "ran")
    rows = (json.dumps(record.row(), ensure_ascii=False) + "\n" for record in records_of(write_clips(folder, 4)))
    (folder / "records.jsonl").write_text("".join(rows), encoding="utf-8")
    return folder


def name_of(kind: str) -> str:
    return kind.replace(": ", "-").replace(" ", "-")


def command(script: str, model: Path, out: Path, *, trusted: bool = False) -> dict:
    clip, records = model.parent / "0.mp4", model.parent / "records.jsonl"
    arguments = {
        "caption": [clip, "--model", model],
        "serve": ["--model", model, "--port", "0"],
        "app": [],
        "score": ["--model", model, "--data", records, "--output", out],
        "train": ["--model", model, "--data", records, "--output", out],
        "publish": ["bundle", model, out],
    }
    env = {"KOCAP_MODEL": str(model), "KOCAP_TRUST_REMOTE_CODE": str(int(trusted))}
    flags = ["--trust-remote-code"] if trusted and script in TRUSTING else []
    return {"argv": [f"{script}.py", *map(str, arguments[script]), *flags], "env": env}


@pytest.fixture(scope="module")
def done(room) -> dict[tuple[str, str], tuple[int, str]]:
    """How every script ended with every checkpoint, and what it said."""
    tried = [(script, kind) for script in SCRIPTS for kind in BROKEN if kind not in NOT_TRIED.get(script, ())]
    tried += [(script, kind) for script in SCRIPTS for kind in STRANGERS if script != "publish"]
    folders = {kind: name_of(kind) if kind in BROKEN else f"theirs-{kind}" for kind in (*BROKEN, *STRANGERS)}
    jobs = [command(script, room / folders[kind], room / f"out-{script}-{folders[kind]}") for script, kind in tried]
    return dict(zip(tried, run_scripts(jobs), strict=True))


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_broken_checkpoint_is_a_coded_error(script, done):
    for kind in (kind for kind in BROKEN if (script, kind) in done):
        code, said = done[script, kind]
        where = f"{script}, {kind}: exit code {code}\n{said}"
        assert "traceback" not in said.lower(), where
        assert code == SCRIPTS[script], where
        is_bundle = script == "publish" and "E_BUNDLE" in said  # says what a bundle needs
        assert is_bundle or ("E_MODEL" in said and BROKEN[kind][1] in said), where
        assert "수 없습니다" in said, where


@pytest.mark.parametrize("script", ["caption", "serve", "app", "score", "train"])
def test_code_of_strangers_never_runs_unasked(script, done, room):
    assert not (room / "ran").exists()
    for kind in STRANGERS:
        code, said = done[script, kind]
        where = f"{script}, {kind}: exit code {code}\n{said}"
        assert "traceback" not in said.lower(), where
        assert code == SCRIPTS[script], where
        assert "E_REMOTE_CODE" in said and "--trust-remote-code" in said and "믿을 수 있을 때만" in said, where


def test_code_of_strangers_runs_where_it_was_asked_for(tiny_checkpoint, room):
    scripts = (*TRUSTING, "app")
    jobs = []
    for script in scripts:
        folder = strangers(tiny_checkpoint, "processor", room / f"trusted-{script}", room / f"ran-{script}")
        jobs.append(command(script, folder, room / f"out-trusted-{script}", trusted=True))
    for script, (code, said) in zip(scripts, run_scripts(jobs), strict=True):
        assert (room / f"ran-{script}").exists(), f"{script}: {said}"
        assert code == SCRIPTS[script] and "E_MODEL" in said, "it holds no processor"
