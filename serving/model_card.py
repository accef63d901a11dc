"""A model card made from a run: what was trained on what, how, with which numbers, and how to load it."""

import platform
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from huggingface_hub.utils import httpx

from configuration.backbone_licenses import LICENSES, License

from .hub_bundle import REPORT_FILES, TASK
from .hub_push import COMMIT, without_token

AIHUB_CREDIT = "The Open AI Dataset Project (AI-Hub, S. Korea)"
MERGED_FIRST = ("dora", "qdora", "wavelet")
STAGES_KO = {"align": "정렬(프로젝터만 학습)", "caption": "캡션 학습", "both": "정렬과 캡션 학습"}
TOKENIZER = re.compile(r"tok:[^|]+")


@dataclass(frozen=True)
class Metric:
    """One score of the run, with what it depends on and what a bad captioner reaches.

    Attributes:
        name: As `evaluation` names it, e.g. `meteor`.
        signature: Tokeniser, versions and parameters.
        low, high: 95 % interval, where known.
        constant: Score of one constant caption, the first floor.
        shuffled: Score of the same captions beside the wrong videos, the second floor.
    """

    name: str
    value: float
    signature: str
    low: float | None = None
    high: float | None = None
    constant: float | None = None
    shuffled: float | None = None

    @classmethod
    def from_score(cls, score) -> "Metric":
        """Of an `evaluation.scoring.Score`."""
        fields = ("name", "value", "signature", "low", "high", "constant", "shuffled")
        return cls(**{name: getattr(score, name) for name in fields})


@dataclass(frozen=True)
class RunFacts:
    """What a card says about a run.

    Attributes:
        base_id: Of an adapter its base; of a base checkpoint what it was made from, e.g. the language model. A local
            folder is written by its last name.
        base_revision: The base's commit.
        kind: `lora`, `dora`, `qlora`, `qdora`, `wavelet` or `full`.
        stage: `align`, `caption` or `both`.
        data: In words, e.g. "AI-Hub 71849, train split".
        counts: By name, e.g. `{"train": 8563, "held out": 1068}`.
        is_aihub: Whether AI-Hub's data was used, which asks for its credit line.
        command: As typed; paths are shortened to their last name.
        hyperparameters, hardware, versions: What it takes to do it again.
        license: Of the backbones whose weights are inside, or of the base; None where it is not known.
        backbones: Vision encoder and language model, where the run began with them.
        collapse: The collapse watch's verdict, a sentence.
        minutes: The run's length.
    """

    base_id: str
    kind: str
    stage: Literal["align", "caption", "both"]
    data: str
    counts: Mapping[str, int]
    command: Sequence[str]
    base_revision: str | None = None
    preset: str | None = None
    is_aihub: bool = False
    hyperparameters: Mapping[str, object] = field(default_factory=dict)
    metrics: Sequence[Metric] = ()
    hardware: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    license: License | None = None
    backbones: Sequence[str] = ()
    collapse: str = ""
    minutes: float | None = None

    def __post_init__(self) -> None:
        if self.stage not in STAGES_KO:
            raise ValueError(f"stage is {self.stage!r}; it must be one of {', '.join(STAGES_KO)}.")


def write_card(folder: Path, facts: RunFacts, *, repo_id: str | None = None) -> Path:
    """Write `README.md` into a checkpoint's or an adapter's folder.

    Neither a token nor a path of this machine gets into it.

    Args:
        folder: An adapter's when it holds `adapter_config.json`. A `training.png` or `training.md` there is linked.
        repo_id: Where it will be on the Hub. Default: `you/` and the folder's name.
    Returns:
        The card's path.
    """
    folder = Path(folder)
    is_adapter = (folder / "adapter_config.json").is_file()
    repo_id = repo_id or f"you/{folder.resolve().name}"
    data = _metadata(facts, repo_id=repo_id, is_adapter=is_adapter)
    sections = [
        f"# {repo_id.split('/')[-1]}",
        _summary_ko(facts, is_adapter=is_adapter),
        _introduction(facts, is_adapter=is_adapter),
        _loading(facts, repo_id=repo_id) if is_adapter else _loading_whole(repo_id),
        _training(facts),
        _numbers(facts, [name for name in REPORT_FILES if (folder / name).is_file()]),
        _limits(facts),
        _license(facts),
    ]
    body = "\n\n".join(section for section in sections if section)
    card = without_token(f"---\n{data.to_yaml()}\n---\n\n{body}\n").replace(str(Path.home()), "~")
    path = folder / "README.md"
    ModelCard(card).save(path)
    return path


def shorten_paths(command: Sequence[str]) -> str:
    """A command line in which local paths keep their last name only, and options that name a token lose it."""
    previous = ["", *command]
    return shlex.join(
        _shorten(part) if "token" not in before or not before.startswith("--") else "HIDDEN"
        for before, part in zip(previous, command)
    )


def _shorten(part: str) -> str:
    option, equals, value = part.partition("=") if part.startswith("-") else ("", "", part)
    is_path = value.startswith(("/", "~", "./", "../", "file:")) or "\\" in value
    if is_path or ("/" in value and Path(value).exists()):
        value = re.split(r"[/\\]", value.rstrip("/\\"))[-1]
    return option + equals + value


def _name(base_id: str) -> str:
    return Path(base_id).name if Path(base_id).is_absolute() or Path(base_id).is_dir() else base_id


def _is_local(base_id: str) -> bool:
    return _name(base_id) != base_id or "/" not in base_id


def _metadata(facts: RunFacts, *, repo_id: str, is_adapter: bool) -> ModelCardData:
    base = {} if _is_local(facts.base_id) else {"base_model": facts.base_id}
    if base:
        base["base_model_relation"] = "adapter" if is_adapter else "finetune"
    results = [
        EvalResult(
            task_type=TASK,
            dataset_type="custom",
            dataset_name=facts.data,
            dataset_split="held out",
            metric_type=metric.name,
            metric_name=_metric_name(metric),
            metric_value=round(metric.value, 4),
            metric_args={"signature": metric.signature},
        )
        for metric in facts.metrics
    ]
    return ModelCardData(
        language="ko",
        library_name="peft" if is_adapter else "transformers",
        pipeline_tag=TASK,
        tags=["kocap", "video-captioning", "korean", *([facts.kind] if is_adapter else [])],
        **({"model_name": repo_id.split("/")[-1], "eval_results": results} if results else {}),
        **(_license_fields(facts.license) if facts.license else {}),
        **base,
    )


def _license_fields(license: License) -> dict[str, str]:
    fields = {"license": license.id, "license_name": license.name, "license_link": license.link}
    return {name: value for name, value in fields.items() if value and (name == "license" or license.id == "other")}


def card_license(checkpoint: str | Path) -> License | None:
    """The license that a checkpoint's card names, folder or Hub id; None where there is no card or it is silent."""
    card = Path(checkpoint) / "README.md"
    try:
        if Path(checkpoint).is_dir() and not card.is_file():
            return None
        data = ModelCard.load(card if card.is_file() else str(checkpoint)).data
    except (OSError, ValueError, httpx.HTTPError):  # no such card, or no Hub
        return None
    return License(data.license, data.get("license_name"), data.get("license_link")) if data.license else None


def _metric_name(metric: Metric) -> str:
    tokenizer = TOKENIZER.search(metric.signature)
    return f"{metric.name} ({tokenizer[0]})" if tokenizer else metric.name


def _summary_ko(facts: RunFacts, *, is_adapter: bool) -> str:
    sort = f"{_name(facts.base_id)}에 붙이는 어댑터({facts.kind})" if is_adapter else "모델"
    counts = ", ".join(f"{name} {count:,}개" for name, count in facts.counts.items())
    meteor = next((metric for metric in facts.metrics if metric.name.startswith("meteor")), None)
    lines = [
        f"영상을 보고 한국어로 자세히 설명하는 {sort}입니다."
        f" {facts.data}({counts})로 {STAGES_KO[facts.stage]}을(를) 했습니다."
    ]
    if meteor:
        lines.append(f"{_metric_name(meteor)} {meteor.value:.4f}. 이 점수는 아래의 서명, 하한과 함께 보아야 합니다.")
    if facts.kind in MERGED_FIRST and is_adapter:
        lines.append("vLLM으로 서비스하려면 먼저 `publish.py merge`로 기반 모델에 합쳐야 합니다.")
    return " ".join(lines)


def _introduction(facts: RunFacts, *, is_adapter: bool) -> str:
    at = f" at commit `{facts.base_revision}`" if facts.base_revision else ""
    if is_adapter:
        return (
            f"A `{facts.kind}` adapter for `{_name(facts.base_id)}`{at}. It describes videos in detailed Korean."
            " It holds no code and no base weights: both come from the base, whose commit is pinned."
        )
    return f"A KoCap model that describes videos in detailed Korean, made from `{_name(facts.base_id)}`{at}."


def _loading(facts: RunFacts, *, repo_id: str) -> str:
    base = _name(facts.base_id)
    base = f"you/{base}" if "/" not in base else base
    revision = facts.base_revision or ""
    pin = f', revision="{revision}"' if COMMIT.fullmatch(revision) else ""
    return f"""## How to load it

```python
from transformers import AutoModel, AutoProcessor

model = AutoModel.from_pretrained("{repo_id}", trust_remote_code=True)
processor = AutoProcessor.from_pretrained("{repo_id}", trust_remote_code=True)
```

`AutoModel` loads the base at the commit that the adapter pins and puts the adapter on it. As a PEFT model, to merge or
train on:

```python
from peft import PeftModel
from transformers import AutoModelForImageTextToText

base = AutoModelForImageTextToText.from_pretrained("{base}"{pin}, trust_remote_code=True)
model = PeftModel.from_pretrained(base, "{repo_id}")
```

For another version of this adapter pass `adapter_kwargs={{"revision": "..."}}`: `revision` is read as the base's."""


def _loading_whole(repo_id: str) -> str:
    return f"""## How to load it

```python
from transformers import AutoModel, AutoProcessor, pipeline

model = AutoModel.from_pretrained("{repo_id}", trust_remote_code=True)
processor = AutoProcessor.from_pretrained("{repo_id}", trust_remote_code=True)
pipeline("video-text-to-text", model="{repo_id}", trust_remote_code=True)("clip.mp4")
```"""


def _training(facts: RunFacts) -> str:
    counts = ", ".join(f"{count:,} {name}" for name, count in facts.counts.items())
    preset = f", preset `{facts.preset}`" if facts.preset else ""
    lines = [
        "## How it was made",
        f"Stage `{facts.stage}`{preset}, data: {facts.data} ({counts}).",
        f"```bash\n{shorten_paths(facts.command)}\n```",
    ]
    rows = {**facts.hyperparameters}
    rows |= {"hardware": facts.hardware} if facts.hardware else {}
    rows |= {"minutes": f"{facts.minutes:.0f}"} if facts.minutes is not None else {}
    versions = {"python": platform.python_version(), **facts.versions}
    rows["versions"] = ", ".join(f"{name} {version}" for name, version in versions.items())
    lines.append(_table(("setting", "value"), [(name, _shorten(str(value))) for name, value in rows.items()]))
    if facts.is_aihub:
        lines.append(
            f"This research used datasets from '{AIHUB_CREDIT}'. All data information can be accessed through AI-Hub"
            " (www.aihub.or.kr). The data are not redistributed here."
        )
    return "\n\n".join(lines)


def _numbers(facts: RunFacts, reports: Sequence[str]) -> str:
    lines = ["## Numbers"] if facts.metrics or reports or facts.collapse else []
    if facts.metrics:
        head = ("metric", "score", "95 % interval", "constant caption", "shuffled videos")
        lines.append(_table(head, [_row(metric) for metric in facts.metrics]))
        lines.append("A score means nothing without its signature and its two floors:")
        lines.append("\n".join(f"- `{metric.signature}`" for metric in facts.metrics))
    if facts.collapse:
        lines.append(f"Collapse watch: {facts.collapse}")
    lines += [f"![Training curves]({name})" if name.endswith(".png") else f"[Report]({name})" for name in reports]
    return "\n\n".join(lines)


def _row(metric: Metric) -> tuple[str, ...]:
    known = metric.low is not None and metric.high is not None
    interval = f"{metric.low:.4f} to {metric.high:.4f}" if known else ""
    floors = ("" if floor is None else f"{floor:.4f}" for floor in (metric.constant, metric.shuffled))
    return (_metric_name(metric), f"{metric.value:.4f}", interval, *floors)


def _limits(facts: RunFacts) -> str:
    lines = [
        "## Limits",
        "- It can describe what is not there: do not rely on a caption where that would harm.",
        "- It has learned the scenery and the style of its training data, and sees a few frames of a clip, no sound.",
    ]
    if facts.kind in MERGED_FIRST:
        lines.append(f"- vLLM refuses `{facts.kind}` adapters: merge first, `python publish.py merge ADAPTER OUT`.")
    if facts.kind in ("qlora", "qdora"):
        lines.append("- Trained on a 4-bit base; on the unquantised base captions can differ a little.")
    return "\n".join([lines[0], "", *lines[1:]])


def _license(facts: RunFacts) -> str:
    if not facts.license:
        named = "It is that of its backbones, which is not known here: read their cards before you use or share this."
    else:
        link = f" ({facts.license.link})" if facts.license.link else ""
        named = f"`{facts.license.title}`{link}, as its backbones' licenses ask."
    lines = [f"- `{name}`: {_title(name)}" for name in facts.backbones]
    return "\n\n".join(filter(None, ["## License", named, "\n".join(lines)]))


def _title(backbone: str) -> str:
    license = LICENSES.get(backbone)
    return license.title if license else "see its card"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = [head, ["---"] * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in cells
    )
