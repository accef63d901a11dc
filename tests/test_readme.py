"""The READMEs say what is so."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from corpus.scene_captions import describe
from corpus.scenes import sample_scene

ROOT = Path(__file__).resolve().parent.parent
SHOWCASE_SEED = 1_000_020_067  # docs/media/make.py draws it
ENGLISH = (ROOT / "README.md").read_text(encoding="utf-8")
KOREAN = (ROOT / "README.ko.md").read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def without_comments(code: str) -> str:
    return re.sub(r"\s+#.*", "", code)


@pytest.mark.parametrize("language", ["bash", "python", "text"])
def test_both_languages_give_the_same_commands(language):
    english, korean = (list(map(without_comments, blocks(text, language))) for text in (ENGLISH, KOREAN))
    assert english == korean
    assert english


@pytest.mark.parametrize("text", [ENGLISH, KOREAN], ids=["README.md", "README.ko.md"])
def test_every_path_exists(text):
    table = [cell for row in re.findall(r"^\| (`.*?) \|", text, re.MULTILINE) for cell in re.findall(r"`(.+?)`", row)]
    links = re.findall(r"\]\(([^)#]+)\)", text)
    assert table
    missing = [path for path in [*table, *links] if not path.startswith("http") and not (ROOT / path).exists()]
    assert missing == []


def test_every_room_and_script_is_in_the_file_map():
    mapped = set(re.findall(r"`([^`]+)`", "".join(re.findall(r"^\| `.*", ENGLISH, re.MULTILINE))))
    rooms = {f"{init.parent.name}/" for init in ROOT.glob("*/__init__.py")}
    scripts = {path.name for path in ROOT.glob("*.py")}
    assert rooms | scripts <= mapped


def test_the_snippet_prints_what_stands_below_it():
    (snippet, *_), (printed,) = blocks(ENGLISH, "python"), blocks(ENGLISH, "text")
    done = subprocess.run([sys.executable, "-c", snippet], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == printed.strip()
    assert printed.strip() in ENGLISH.split("## Two commands")[0], "the picture's caption is the snippet's"


def test_space_metadata_names_the_demo():
    metadata = yaml.safe_load(ENGLISH.split("---")[1])
    assert metadata["sdk"] == "gradio"
    assert (ROOT / metadata["app_file"]).exists()
    assert len(metadata["short_description"]) <= 60
    assert "pipeline_tag" not in metadata  # a model's entry; the model's card is in its checkpoint


def test_a_space_has_a_python_that_zerogpu_takes_and_that_is_tried():
    version = yaml.safe_load(ENGLISH.split("---")[1])["python_version"]
    assert version in ("3.10.13", "3.12.12")  # ZeroGPU's, docs of Spaces
    minor = version.rpartition(".")[0]
    assert f"== smoke tests on Python {minor}" in (ROOT / ".ci/run").read_text(encoding="utf-8")
    assert all(re.search(rf"Python 3\.11\D+{re.escape(minor)}(?!\d)", text) for text in (ENGLISH, KOREAN))


def test_commands_after_the_first_two_run_in_the_environment_that_was_activated():
    first, second, *rest = blocks(ENGLISH, "bash")
    assert first.startswith("python3 -m venv") and second.startswith("python3 -m venv")
    assert rest[0].startswith("source .venv/bin/activate\n")


def test_what_is_wrong_in_the_showcase_stands_under_it():
    truth = describe(sample_scene(SHOWCASE_SEED))
    (caption,) = re.findall(r"^> (이 영상은.*)$", ENGLISH, re.MULTILINE)
    facts = (("벤치", "bench"), ("왼쪽", "left"))
    wrong = [words for words in facts if words[0] in truth and words[0] not in caption]
    for text in (ENGLISH, KOREAN):
        below = text.split(caption)[1].split("##")[0]
        assert all(any(word in below for word in words) for words in wrong), wrong


def test_what_the_hub_refuses_over_plain_git_goes_through_lfs():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.split(b"\0")
    binary = [name.decode() for name in listed if name and b"\0" in (ROOT / name.decode()).read_bytes()]
    told = subprocess.run(
        ["git", "check-attr", "filter", "--", *binary], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert binary and [line for line in told.splitlines() if not line.endswith(": filter: lfs")] == []


def test_a_base_is_pushed_before_the_adapter_that_pins_it():
    for page in sorted((ROOT / "docs").glob("*.md")):
        for block in blocks(page.read_text(encoding="utf-8"), "bash"):
            pushes = re.findall(r"publish\.py push (\S+) (\S+)(?: --base (\S+))?", block)
            for index, (_, _, base) in enumerate(pushes):
                assert not base or base in [repo for _, repo, _ in pushes[:index]], page.name


def test_model_card_metadata():
    card = (ROOT / "checkpoints/kocap-tiny/README.md").read_text(encoding="utf-8")
    metadata = yaml.safe_load(card.split("---")[1])
    assert metadata["pipeline_tag"] == "video-text-to-text"
    assert metadata["library_name"] == "transformers"
    assert "sdk" not in metadata
    assert "python train.py --preset tiny --output checkpoints/kocap-tiny" in card
