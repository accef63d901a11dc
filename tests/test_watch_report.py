"""The training report: every alarm named, captions as they develop, a picture that opens, files that are whole."""

import dataclasses

from PIL import Image

from corpus.scene_captions import describe
from corpus.scenes import sample_scene
from training.collapse_signs import Look, Sample, find_signs
from training.watch_report import write_training_report

REFERENCES = [describe(sample_scene(seed)) for seed in range(2)]


def look(step: int, dependence: float, unique: float) -> Look:
    captions = [f"{step}단계에 만든 *설명* {clip} | 파도" for clip in range(2)]
    return Look(
        step=step,
        progress=step / 100,
        clips=32,
        unique=unique,
        reference_unique=1.0,
        repetition=0.1,
        reference_repetition=0.03,
        similarity=0.4,
        reference_similarity=0.33,
        length_ratio=0.97,
        meteor=0.25,
        meteor_low=0.23,
        meteor_high=0.27,
        meteor_constant=0.3,
        meteor_shuffled=0.24,
        meteor_signature="meteor|alg:nltk|tok:kiwi",
        nll=0.7,
        dependence=dependence,
        dependence_low=dependence - 0.01,
        dependence_high=dependence + 0.01,
        answer_tokens=402.0,
        seconds=12.0,
        samples=tuple(
            Sample(f"해안_{clip}", caption, reference)
            for clip, (caption, reference) in enumerate(zip(captions, REFERENCES, strict=True))
        ),
    )


LOOKS = [look(0, 0.0, 0.1), look(30, 0.2, 1.0), look(60, 0.05, 0.9), look(90, 0.001, 0.1)]
LOG = [
    *({"step": step, "loss": 3.0 / step, "learning_rate": 1e-4 * (1 - step / 100)} for step in range(1, 100)),
    {"step": 50, "eval_loss": 0.9},
    {"train_runtime": 12.0},
]


def test_the_page_names_every_alarm_first_and_shows_how_captions_develop(tmp_path):
    page = write_training_report(tmp_path / "report", LOG, LOOKS, facts={"모델": "kocap-tiny"}).read_text("utf-8")
    signs = find_signs(LOOKS)
    assert {sign.code for sign in signs} == {"W_COLLAPSE", "W_BLIND", "W_FLOOR"}
    head = page[: page.index("## 곡선")]
    for sign in signs:
        assert f"**{sign.code}**" in head
        assert all(cause in head for cause in sign.causes_ko)
    assert "W_FADING" in page  # it came and went
    assert "kocap-tiny" in head and "![곡선](curves.png)" in page and LOOKS[-1].meteor_signature in page
    for sample in LOOKS[-1].samples:
        assert sample.reference in page
    now = page.index("90단계에 만든 \\*설명\\* 0 | 파도")
    places = [now, *(page.index(f"| {step}단계에 만든 \\*설명\\* 0 \\| 파도 |") for step in (0, 30, 60))]
    assert places == sorted(places)  # now, then from the beginning
    assert len([row for row in page.split("## 모든 측정")[1].splitlines() if row.startswith("|")]) == 2 + len(LOOKS)


def test_a_healthy_run_and_an_early_one_say_so(tmp_path):
    healthy = [LOOKS[0], dataclasses.replace(LOOKS[1], meteor=0.5)]
    assert "경고가 없습니다" in write_training_report(tmp_path, LOG, healthy, facts={}).read_text("utf-8")
    assert "판단하기 이릅니다" in write_training_report(tmp_path, [], LOOKS[:1], facts={}).read_text("utf-8")


def test_files_are_whole_and_replace_those_from_before(tmp_path):
    for end in (1, 4):
        write_training_report(tmp_path, LOG, LOOKS[:end], facts={})
        assert sorted(path.name for path in tmp_path.iterdir()) == ["curves.png", "report.md"]
        with Image.open(tmp_path / "curves.png") as picture:
            picture.load()
            assert picture.format == "PNG" and picture.width > 1000
    assert "W_COLLAPSE" in (tmp_path / "report.md").read_text("utf-8")


def test_what_could_not_be_measured_is_left_out(tmp_path):
    unknown = [
        dataclasses.replace(each, dependence=float("nan"), dependence_low=float("nan"), dependence_high=float("nan"))
        for each in LOOKS
    ]
    page = write_training_report(tmp_path, LOG, unknown, facts={}).read_text("utf-8")
    assert "nan" not in page
    assert not any("dependence" in name for name in unknown[0].numbers())
