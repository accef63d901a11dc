"""A page in Korean about how a run goes: alarms first, curves, and captions beside references as they develop."""

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from corpus.report_pages import markdown_table, write_whole

from .collapse_signs import Limits, Look, Sign, find_signs
from .watch_plots import draw_curves

LATER_LOOKS = 4  # of a clip's earlier captions so many are shown, spread over the run
WORDS_KO = (
    "회색은 아직 판단하지 않는 구간, 붉은 세로줄은 심각한 경고(🚨)가 나온 측정입니다.\n\n"
    "**영상 의존도**는 다른 영상을 보여 주었을 때의 NLL에서 제 영상을 보여 주었을 때의 NLL을 뺀 값입니다"
    "(토큰당 nat, 괄호는 95 % 신뢰 구간). 0이면 모델이 영상을 보지 않고 말하는 것이고, 클수록 영상에 기대어 말하는"
    " 것입니다. **모두 같은 설명**은 모든 영상에 가장 그럴듯한 설명 하나를, **영상을 뒤섞음**은 모델의 설명을 다른"
    " 영상에 붙였을 때의 METEOR입니다. **서로 비슷한 정도**는 설명을 둘씩 견준 chrF++의 평균이고, **되풀이**는 한"
    " 설명 안에서 다시 나온 네 낱말(형태소) 묶음의 비율입니다."
)
LOOK_HEAD = (
    "단계",
    "영상 의존도",
    "서로 다른 설명",
    "되풀이",
    "서로 비슷한 정도",
    "METEOR",
    "모두 같은 설명",
    "영상을 뒤섞음",
    "NLL",
    "길이 비",
    "경고",
)


def write_training_report(
    folder: Path,
    log_history: Sequence[Mapping[str, Any]],
    measurements: Sequence[Look],
    *,
    facts: Mapping[str, str],
    limits: Limits | None = None,
) -> Path:
    """Write `report.md` and `curves.png`, each complete or not at all, over those from before.

    Args:
        folder: Made where it is missing.
        log_history: The Trainer's `state.log_history`: `loss`, `eval_loss` and `learning_rate` by `step`.
        measurements: All looks so far, at least one, in the order of steps.
        facts: What to say about the run, by name, in Korean.
    Returns:
        The page.
    """
    limits = limits or Limits()
    folder.mkdir(parents=True, exist_ok=True)
    signs = [find_signs(measurements[: number + 1], limits) for number in range(len(measurements))]
    draw_curves(folder / "curves.png", log_history, measurements, signs, limits)
    last = measurements[-1]
    sections = [
        "# 학습 보고서",
        _alarms(measurements, signs, limits),
        markdown_table(["", ""], [[name, _plain(value)] for name, value in (facts | _own_facts(last)).items()]),
        "## 곡선",
        "![곡선](curves.png)",
        WORDS_KO,
        f"## 보지 않은 영상의 설명 ({last.step}단계)",
        *(part for number in range(len(last.samples)) for part in _sample(measurements, number)),
        "## 모든 측정",
        markdown_table(LOOK_HEAD, [_row(look, own) for look, own in zip(measurements, signs, strict=True)]),
        _reference_line(last),
        f"METEOR의 서명: `{last.meteor_signature}`",
    ]
    write_whole(folder / "report.md", ("\n\n".join(sections) + "\n").encode("utf-8", "replace"))
    return folder / "report.md"


def _alarms(looks: Sequence[Look], signs: Sequence[Sequence[Sign]], limits: Limits) -> str:
    lines, told = [], set()
    for sign in signs[-1]:
        lines.append(f"- {'🚨' if sign.serious else '⚠️'} **{sign.code}** {_plain(sign.message_ko)}")
        lines += [f"  - {cause}" for cause in sign.causes_ko if cause not in told]
        told.update(sign.causes_ko)
    if not lines:
        early = looks[-1].progress < limits.warm_up or len(looks) < 2
        wait = f"아직 판단하기 이릅니다. 학습의 {limits.warm_up:.0%}가 지난 뒤부터 판단합니다."
        lines = [wait if early else "경고가 없습니다."]
    earlier = sorted({sign.code for own in signs[:-1] for sign in own} - {sign.code for sign in signs[-1]})
    if earlier:
        lines += ["", f"앞서 나왔다가 사라진 경고: {', '.join(earlier)} (아래 표 참고)"]
    return "\n".join(lines)


def _own_facts(look: Look) -> dict[str, str]:
    return {
        "마지막 측정": f"{look.step:,}단계 (전체의 {look.progress:.0%})",
        "측정에 쓴 영상": f"{look.clips}개 (학습에 쓰지 않음)",
        "측정에 걸린 시간": f"{look.seconds:.0f}초",
    }


def _sample(looks: Sequence[Look], number: int) -> list[str]:
    """One clip: reference, what the model says now, and what it said before."""
    now = looks[-1].samples[number]
    told = [(look.step, sample) for look in looks[:-1] for sample in look.samples if sample.id == now.id]
    spread = {round(place * (len(told) - 1) / max(LATER_LOOKS - 1, 1)) for place in range(LATER_LOOKS)} if told else ()
    before = [told[place] for place in sorted(spread)]
    rows = [[f"{step:,}단계", _plain(sample.caption) or "(없음)"] for step, sample in before]
    return [
        f"### {number + 1}. {_plain(now.id)}",
        f"**정답:** {_plain(now.reference)}",
        f"**지금:** {_plain(now.caption) or '(없음)'}",
        *([markdown_table(["앞선 측정", "설명"], rows)] if rows else []),
    ]


def _row(look: Look, signs: Sequence[Sign]) -> list[str]:
    return [
        f"{look.step:,}",
        f"{_number(look.dependence)} ({_number(look.dependence_low)} ~ {_number(look.dependence_high)})",
        f"{look.unique:.2f}",
        f"{look.repetition:.2f}",
        f"{look.similarity:.2f}",
        f"{look.meteor:.3f} ({look.meteor_low:.3f} ~ {look.meteor_high:.3f})",
        f"{look.meteor_constant:.3f}",
        f"{look.meteor_shuffled:.3f}",
        f"{look.nll:.3f}",
        f"{look.length_ratio:.2f}",
        ", ".join(sign.code for sign in signs) or "-",
    ]


def _reference_line(look: Look) -> str:
    return (
        f"사람이 쓴 정답은 서로 다른 설명 {look.reference_unique:.2f}, 되풀이 {look.reference_repetition:.2f},"
        f" 서로 비슷한 정도 {look.reference_similarity:.2f}입니다. 정답 하나는 평균 {look.answer_tokens:.0f}토큰입니다."
    )


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _plain(text: str) -> str:
    """A text as Markdown shows it literally, on one line; tables take care of `|` themselves."""
    return re.sub(r"([\\`*_\[\]<>#~])", r"\\\1", " ".join(text.split()))
