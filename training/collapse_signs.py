"""From what the looks at held-out captions measured to alarms: pure functions, no model.

No single number says that a run collapses. Captions can all differ and still say nothing of their videos; one that fits
everything can score well. So a look holds several numbers, and a sign says which pattern of them it saw.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

from evaluation.floors import LEAST_UNIQUE, Alarm


@dataclass(frozen=True)
class Sample:
    """A held-out clip's caption at one look, and what a person wrote about it."""

    id: str
    caption: str
    reference: str


@dataclass(frozen=True)
class Look:
    """What one look at the held-out clips measured.

    Attributes:
        step: Optimiser steps done.
        progress: Share of the run that is done, 0 to 1.
        clips: How many clips were looked at.
        unique: Share of different captions.
        repetition: Mean share of a caption's 4-grams of morphemes that it has used before.
        similarity: Mean chrF++ of every caption against every other one's, 0 to 1.
        length_ratio: Characters of the captions over those of the references.
        meteor, meteor_low, meteor_high: METEOR on Kiwi's morphemes with its 95 % interval.
        meteor_constant, meteor_shuffled: Its floors; see `evaluation.scoring.Score`.
        meteor_signature: What the number depends on.
        nll: Mean negative log-likelihood of the answers' tokens beside their own videos, nats per token.
        dependence: The same beside another clip's video, minus `nll`; NaN where no two clips can be exchanged.
        dependence_low, dependence_high: Its 95 % interval over clips.
        answer_tokens: Mean length of the answers in tokens.
        seconds: How long the look took.
        samples: Some of the captions, of the same clips at every look.
    """

    step: int
    progress: float
    clips: int
    unique: float
    reference_unique: float
    repetition: float
    reference_repetition: float
    similarity: float
    reference_similarity: float
    length_ratio: float
    meteor: float
    meteor_low: float
    meteor_high: float
    meteor_constant: float
    meteor_shuffled: float
    meteor_signature: str
    nll: float
    dependence: float
    dependence_low: float
    dependence_high: float
    answer_tokens: float
    seconds: float
    samples: tuple[Sample, ...] = ()

    def numbers(self) -> dict[str, float]:
        """What goes into the run's log, as `watch/...`; texts, settings and what could not be measured are left out."""
        renamed = {name: f"video_{name}" for name in ("dependence", "dependence_low", "dependence_high")}
        values = {
            f"watch/{renamed.get(field.name, field.name)}": getattr(self, field.name)
            for field in fields(self)
            if field.name not in ("step", "progress", "clips", "meteor_signature", "samples")
        }
        return {name: float(value) for name, value in values.items() if not math.isnan(value)}


@dataclass(frozen=True)
class Limits:
    """Where the alarms begin.

    Attributes:
        warm_up: Share of the run that is not judged. The learning rate rises during the first tenth, and a language
            model learns how captions sound before a new projector tells it anything of the video.
        second_half: Share of the run after which METEOR must be above its constant floor: the best constant caption is
            a good one, and a healthy run passes it late.
        least_unique: As in a score report.
        more_repetition: Of a caption's 4-grams, above what references repeat. Three times a score report's: a model
            half-way through its training says a thing twice (kocap-tiny as it is repeats 0.17), a loop fills a caption.
        blind: Nats per token that count as no dependence on the video: when the interval is all below it, or the value
            is and the interval reaches down to 0. Over a caption of 402 tokens (AI-Hub's mean) it is 8 nats; knowing
            place, time of day and weather saves more. kocap-tiny has 0.35 on drawn scenes, and keeps 0.008 when it goes
            on with videos shuffled.
        faded: Share of its best value so far that dependence must keep.
        lost: Share of it below which sight counts as lost. kocap-tiny with videos shuffled: 0.04 after 16 steps.
        persistent: Looks in a row with a serious alarm after which a run is hopeless. One look may have had bad luck.
    """

    warm_up: float = 0.2
    second_half: float = 0.5
    least_unique: float = LEAST_UNIQUE
    more_repetition: float = 0.3
    blind: float = 0.02
    faded: float = 0.5
    lost: float = 0.1
    persistent: int = 2


@dataclass(frozen=True)
class Sign(Alarm):
    """An alarm of a running training.

    Attributes:
        causes, causes_ko: What it likely comes from and what to try, the likeliest first.
        serious: Going on is a waste of time unless the next look says otherwise.
    """

    causes: tuple[str, ...] = ()
    causes_ko: tuple[str, ...] = ()
    serious: bool = False


LABELS = (
    "captions stand beside the wrong videos: open ten records and compare (a shifted list, files renamed or sorted)",
    "설명이 다른 영상에 붙어 있습니다. 레코드 열 개를 열어 영상과 설명을 견주어 보세요(밀린 목록, 바뀐 파일 이름).",
)
FEATURES = (
    "all videos look the same to the model: features of a wrong or broken vision tower, black frames, a stale cache",
    "모델에게 모든 영상이 똑같아 보입니다. 비전 인코더, 검은 화면, 오래된 특징 캐시를 확인하세요.",
)
PROJECTOR = (
    "the projector learned nothing: train stage align first, with its learning rate near 1e-3 (not 1e-5, not 1e-1)",
    "프로젝터가 배우지 못했습니다. align 단계를 먼저, 학습률 1e-3 근처로 학습하세요(1e-5나 1e-1은 맞지 않습니다).",
)
CUT = (
    "the maximum length cuts video placeholders or answers off: raise it, or use fewer frames",
    "최대 길이 때문에 영상 토큰이나 설명이 잘립니다. 최대 길이를 늘리거나 프레임 수를 줄이세요.",
)
RATE = (
    "the language model's learning rate is too high: lower it 3 to 10 times, start from the last good checkpoint",
    "언어 모델의 학습률이 너무 큽니다. 3~10배 낮추고 마지막으로 좋았던 체크포인트에서 다시 시작하세요.",
)
LIKENESS = (
    "training captions resemble one another: look at the data report's near-duplicates and at its categories",
    "학습용 설명이 서로 너무 비슷합니다. 데이터 보고서의 중복과 분류를 확인하세요.",
)
OVERFITTING = (
    "the language model learns its training captions by heart: fewer epochs, more data, a smaller rank, more dropout",
    "언어 모델이 학습용 설명을 외우고 있습니다. 에폭이나 랭크를 줄이고, 데이터나 드롭아웃을 늘리세요.",
)
ENDINGS = (
    "answers do not end: make sure that the end-of-turn token is among the labels, and raise max_new_tokens",
    "설명이 끝나지 않습니다. 끝 토큰이 레이블에 들어 있는지 확인하고 max_new_tokens를 늘리세요.",
)
EARLY = (
    "it may only be early: if the curves still rise, let it run",
    "아직 이른 것일 수 있습니다. 곡선이 계속 오르고 있으면 더 기다려 보세요.",
)


def find_signs(looks: Sequence[Look], limits: Limits | None = None) -> list[Sign]:
    """Judge the last look in the light of the earlier ones; the most serious sign comes first.

    Args:
        looks: In the order of steps. The first one, of an untrained model, is never judged.
    """
    limits = limits or Limits()
    if len(looks) < 2 or looks[-1].progress < limits.warm_up:
        return []
    judges: tuple[Callable[[Sequence[Look], Limits], Sign | None], ...] = (_collapse, _blind, _fading, _floor, _loops)
    return sorted(filter(None, (judge(looks, limits) for judge in judges)), key=lambda sign: not sign.serious)


def persistent_sign(looks: Sequence[Look], limits: Limits | None = None) -> Sign | None:
    """The last look's first serious sign, if the looks before it had serious ones, too."""
    limits = limits or Limits()
    recent = range(len(looks), max(len(looks) - limits.persistent, 0), -1)
    serious = [[sign for sign in find_signs(looks[:end], limits) if sign.serious] for end in recent]
    return serious[0][0] if len(serious) == limits.persistent and all(serious) else None


def is_blind(looks: Sequence[Look], limits: Limits) -> bool:
    """Whether captions do not depend on the video, as far as these clips can tell, and do not begin to either."""
    look = looks[-1]
    none = look.dependence < limits.blind and (look.dependence_low <= 0 or look.dependence_high < limits.blind)
    best = max(looks, key=lambda other: _or_none(other.dependence))
    none |= best.dependence_low > limits.blind and look.dependence < limits.lost * best.dependence
    rising = look.dependence_low > max([0.0, *(other.dependence for other in looks[:-1])])
    return none and not rising


def _few_captions(look: Look, limits: Limits) -> bool:
    return look.unique < min(limits.least_unique, look.reference_unique)


def _collapse(looks: Sequence[Look], limits: Limits) -> Sign | None:
    look = looks[-1]
    if not _few_captions(look, limits):
        return None
    causes = (EARLY, LIKENESS, ENDINGS, RATE)
    if blind := is_blind(looks, limits):
        seen, seen_ko = "they do not depend on the video", "설명이 영상과 관계가 없습니다"
        causes = (RATE, LIKENESS, PROJECTOR, FEATURES, CUT)
    elif look.dependence >= limits.blind:
        seen, seen_ko = "though the model does look at the video", "모델이 영상을 보기는 합니다"
    else:
        seen, seen_ko = "how far they depend on the video is unclear", "영상을 얼마나 보는지는 분명하지 않습니다"
    return _sign(
        "W_COLLAPSE",
        f"step {look.step}: only {_different(look)} of {look.clips} captions differ from one another, and {seen}"
        f" (video dependence {_dependence(look)})",
        f"{look.step}단계: 설명 {look.clips}개 가운데 서로 다른 것이 {_different(look)}개뿐이고,"
        f" {seen_ko}(영상 의존도 {_dependence(look)}).",
        causes,
        serious=blind or math.isnan(look.dependence),
    )


def _blind(looks: Sequence[Look], limits: Limits) -> Sign | None:
    look = looks[-1]
    if not is_blind(looks, limits):
        return None
    told, told_ko = "", ""
    best = max(looks[:-1], key=lambda other: _or_none(other.dependence))
    if best.dependence_low > limits.blind:
        told = f"; at step {best.step} it still was {_dependence(best)}, so training has destroyed it"
        told_ko = f" {best.step}단계에서는 {_dependence(best)}였으므로 학습이 영상 보는 힘을 없앴습니다."
    causes = (LABELS, PROJECTOR, FEATURES, CUT)
    if _few_captions(look, limits):
        causes = (PROJECTOR, FEATURES, RATE, CUT, LABELS)
    elif told:
        causes = (LABELS, RATE, FEATURES, CUT)
    return _sign(
        "W_BLIND",
        f"step {look.step}: captions do not depend on the video: a reference is as likely beside another clip's"
        f" video (video dependence {_dependence(look)}){told}",
        f"{look.step}단계: 설명이 영상과 관계가 없습니다. 다른 영상을 보여 주어도 정답의 가능도가 같습니다"
        f"(영상 의존도 {_dependence(look)}).{told_ko}",
        causes,
        serious=True,
    )


def _fading(looks: Sequence[Look], limits: Limits) -> Sign | None:
    look = looks[-1]
    best = max(looks[:-1], key=lambda other: _or_none(other.dependence))
    fell = look.dependence < limits.faded * best.dependence and look.dependence_high < best.dependence_low
    if is_blind(looks, limits) or not fell:
        return None
    worse = look.nll > min(other.nll for other in looks[:-1])
    return _sign(
        "W_FADING",
        f"step {look.step}: video dependence fell from {_dependence(best)} at step {best.step} to {_dependence(look)}:"
        " captions lean on the language model more and more",
        f"{look.step}단계: 영상 의존도가 {best.step}단계의 {_dependence(best)}에서 {_dependence(look)}로 떨어졌습니다."
        " 모델이 영상보다 말버릇에 기대기 시작했습니다.",
        (OVERFITTING, RATE, LABELS) if worse else (LABELS, OVERFITTING, RATE),
    )


def _floor(looks: Sequence[Look], limits: Limits) -> Sign | None:
    look = looks[-1]
    if look.progress < limits.second_half or not look.meteor <= look.meteor_constant:
        return None
    return _sign(
        "W_FLOOR",
        f"step {look.step}: METEOR {look.meteor:.3f} is not above the {look.meteor_constant:.3f} of one constant"
        " caption for every video",
        f"{look.step}단계: METEOR {look.meteor:.3f}이(가) 모든 영상에 같은 설명을 붙인 점수"
        f" {look.meteor_constant:.3f}보다 높지 않습니다.",
        (EARLY, ENDINGS, LABELS, PROJECTOR),
    )


def _loops(looks: Sequence[Look], limits: Limits) -> Sign | None:
    look = looks[-1]
    if look.repetition <= look.reference_repetition + limits.more_repetition:
        return None
    return _sign(
        "W_REPETITION",
        f"step {look.step}: captions repeat {look.repetition:.0%} of their own 4-grams; references repeat"
        f" {look.reference_repetition:.0%}",
        f"{look.step}단계: 한 설명 안에서 네 낱말 묶음의 {look.repetition:.0%}가 되풀이됩니다"
        f"(정답 설명은 {look.reference_repetition:.0%}).",
        (ENDINGS, RATE, EARLY),
    )


def _sign(
    code: str, message: str, message_ko: str, causes: Sequence[tuple[str, str]], *, serious: bool = False
) -> Sign:
    english, korean = zip(*causes, strict=True)
    return Sign(code, message, message_ko, causes=english, causes_ko=korean, serious=serious)


def _different(look: Look) -> int:
    return round(look.unique * look.clips)


def _dependence(look: Look) -> str:
    if math.isnan(look.dependence):
        return "?"
    return f"{look.dependence:.3f} [{look.dependence_low:.3f}, {look.dependence_high:.3f}]"


def _or_none(dependence: float) -> float:
    return -math.inf if math.isnan(dependence) else dependence
