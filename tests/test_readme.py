"""The READMEs say what is so."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
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


def test_model_card_metadata():
    card = (ROOT / "checkpoints/kocap-tiny/README.md").read_text(encoding="utf-8")
    metadata = yaml.safe_load(card.split("---")[1])
    assert metadata["pipeline_tag"] == "video-text-to-text"
    assert metadata["library_name"] == "transformers"
    assert "sdk" not in metadata
    assert "python train.py --preset tiny --output checkpoints/kocap-tiny" in card
