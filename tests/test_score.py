"""score.py as a user runs it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from corpus.records import caption_record
from corpus.scene_captions import describe
from corpus.scenes import sample_scene
from score import main

ROOT = Path(__file__).resolve().parent.parent
REFERENCES = {
    "바다": "푸른 바다가 넓게 펼쳐져 있고 하얀 파도가 모래사장으로 밀려옵니다.",
    "거리": "비가 내리는 도심 거리에서 우산을 쓴 사람들이 횡단보도를 건넙니다.",
    "산": "눈 덮인 산을 하늘에서 내려다보며 구름이 능선을 따라 흘러갑니다.",
}
GENERIC = "맑은 날 낮의 풍경입니다."


def write(path: Path, captions: dict[str, str]) -> Path:
    rows = (json.dumps({"id": name, "caption": caption}, ensure_ascii=False) for name, caption in captions.items())
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("채점 자료")
    return {
        "true": write(folder / "정답.jsonl", REFERENCES),
        "good": write(folder / "good.jsonl", {name: text.replace("넓게 ", "") for name, text in REFERENCES.items()}),
        "generic": write(folder / "generic.jsonl", dict.fromkeys(REFERENCES, GENERIC)),
        "short": write(folder / "short.jsonl", {"바다": REFERENCES["바다"]}),
        "folder": folder,
    }


def run_score(*arguments: str | Path) -> Any:
    """In this process: loading Kiwi and torch once is slow enough."""
    script = typer.Typer()
    script.command()(main)
    return CliRunner().invoke(script, [str(argument) for argument in arguments])


def test_a_table_with_floors_alarms_and_the_published_score(files):
    output = files["folder"] / "결과"
    done = run_score(
        files["generic"], files["true"], "--compare", files["good"], "--output", output, "--resamples", "100"
    )
    assert done.exit_code == 0, done.output
    for told in ("meteor (Kiwi 형태소)", "모두 같은 설명", "영상을 뒤섞음", "W_COLLAPSE", "0.3052", "두 시스템 비교"):
        assert told in done.stdout
    page = (output / "report/report.md").read_text("utf-8")
    assert "W_COLLAPSE" in page.split("## ")[0], "alarms stand at the top"
    assert "두 시스템 비교" in page
    facts = json.loads((output / "report/scores.json").read_text("utf-8"))
    assert facts["comparison"]["meteor"]["high"] < 0


def test_json_is_one_object_and_nothing_else_on_stdout(files):
    done = run_score(files["short"], files["true"], "--allow-missing", "--json", "--metrics", "meteor,rouge_l")
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout)
    assert facts["clips"] == 1
    assert set(facts["scores"]) == {"meteor", "rouge_l"}
    assert [note["code"] for note in facts["notes"]] == ["W_LEFT_OUT"]
    assert facts["scores"]["meteor"]["value"] > 0.9


@pytest.mark.parametrize(
    ("arguments", "english", "korean"),
    [
        (["short", "true"], "2 ids of .* are missing: 거리, 산", "--allow-missing을 사용해 주세요"),
        (["good", "true", "--metrics", "meteor,mteor"], "unknown metrics mteor", "알 수 없는 지표입니다: mteor"),
        (["good"], "give PREDICTIONS and REFERENCES", "예측 파일과 정답 파일을 주거나"),
        (["--model", "nowhere"], "needs --data", "--data와 --output도 주세요"),
        (["good", "true", "--output", "folder"], "holds no score report", "다른 출력 폴더를 사용해 주세요"),
    ],
    ids=["missing ids", "unknown metric", "no references", "no data", "somebody's folder"],
)
def test_bad_input_is_explained_in_both_languages(files, arguments, english, korean):
    (files["folder"] / "report").mkdir(exist_ok=True)
    done = run_score(*(files.get(argument, argument) for argument in arguments))
    assert done.exit_code == 1
    assert done.stdout == ""
    assert re.search(english, done.stderr)
    assert korean in done.stderr
    assert list((files["folder"] / "report").iterdir()) == []


def test_the_numbers_in_the_document_are_measured(capsys):
    text = (ROOT / "docs/scoring.md").read_text("utf-8")
    snippet = next(part for part in text.split("```python\n")[1:] if "paraphrases" in part).split("```")[0]
    exec(compile(snippet, "docs/scoring.md", "exec"), {})
    printed = capsys.readouterr().out.strip()
    assert f"```text\n{printed}\n```" in text


def test_captions_of_drawn_scenes_are_checked_attribute_by_attribute(tmp_path):
    captions = [describe(sample_scene(seed)) for seed in range(12)]
    rows = [
        caption_record(str(seed), f"{seed}.mp4", caption, source="scenes", seed=seed).row()
        for seed, caption in enumerate(captions)
    ]
    (tmp_path / "val.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    said = write(tmp_path / "said.jsonl", {str(seed): captions[0] for seed in range(12)})
    done = run_score(said, tmp_path / "val.jsonl", "--output", tmp_path / "out", "--resamples", "50")
    assert done.exit_code == 0, done.output
    assert "카메라 움직임" in done.stdout
    assert "카메라 움직임" in (tmp_path / "out/report/report.md").read_text("utf-8")
    found = json.loads((tmp_path / "out/report/scores.json").read_text("utf-8"))["attributes"]
    assert found["place"]["recall"] == found["place"]["shuffled_recall"] < 0.5  # one caption for all
    right = write(tmp_path / "right.jsonl", dict(zip(map(str, range(12)), captions)))
    facts = json.loads(run_score(right, tmp_path / "val.jsonl", "--json", "--resamples", "50").stdout)
    assert {match["recall"] for match in facts["attributes"].values()} == {1.0}
