"""Score Korean captions against references.

    python score.py captions.jsonl data/aihub/val.jsonl
    python score.py captions.jsonl data/aihub/val.jsonl --compare other.jsonl --output scores
    python score.py --model checkpoints/kocap-tiny --data data/scenes/val.jsonl --output scores

Scores go to stdout, progress and problems to stderr. With --model every clip is captioned first; a run that was stopped
goes on where it was. The exit code is 1 when something in the input is wrong.
"""

import json
import logging
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from configuration.script_endings import TRUST_HELP, coded_ending, quiet_until_main, tell

if __name__ == "__main__":
    quiet_until_main()

import typer
from rich.console import Console
from tqdm import tqdm

from configuration.disk_writing import check_writable
from corpus.records import RecordError, read_records
from evaluation.caption_files import CaptionPairs, keep_common, read_pairs
from evaluation.scene_accuracy import AttributeMatch, attribute_matches
from evaluation.score_report import ReportParts, write_score_report
from evaluation.score_table import print_scores
from evaluation.score_words import write_attributes, write_comparison
from evaluation.scoring import METRICS, ScoreSheet, baseline_comparison, compare, score_captions

USAGE_KO = "예측 파일과 정답 파일을 주거나, --model과 --data와 --output을 주세요."


@coded_ending(interrupted="--model로 만들던 설명은 같은 명령을 다시 실행하면 이어서 만듭니다.")
def main(
    predictions: Annotated[Path | None, typer.Argument(metavar="PREDICTIONS", help="채점할 설명들(.jsonl)")] = None,
    references: Annotated[Path | None, typer.Argument(metavar="REFERENCES", help="정답 설명들(.jsonl)")] = None,
    model: Annotated[str | None, typer.Option(help="먼저 설명을 만들 모델: 체크포인트 폴더 또는 Hub 이름")] = None,
    data: Annotated[Path | None, typer.Option(help="--model이 볼 영상과 정답이 든 레코드 파일")] = None,
    output: Annotated[Path | None, typer.Option(help="보고서(report/)와 만든 설명을 쓸 폴더", file_okay=False)] = None,
    other: Annotated[Path | None, typer.Option("--compare", help="비교할 다른 시스템의 설명들(.jsonl)")] = None,
    allow_missing: Annotated[bool, typer.Option("--allow-missing", help="양쪽에 다 있는 id만 채점하기")] = False,
    metrics: Annotated[str, typer.Option(help="계산할 지표들, 쉼표로 나누어")] = ",".join(METRICS),
    bertscore: Annotated[Path | None, typer.Option(help="BERTScore에 쓸 모델 폴더")] = None,
    siglip: Annotated[Path | None, typer.Option(help="영상과의 유사도에 쓸 SigLIP2 모델 폴더")] = None,
    resamples: Annotated[int, typer.Option(min=1, help="신뢰 구간을 위한 재표집 횟수")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="재표집과 뒤섞기에 쓰는 난수의 씨앗")] = 0,
    frames: Annotated[int | None, typer.Option(help="--model이 한 영상에서 볼 프레임 수")] = None,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="--model이 생성할 최대 토큰 수")] = 768,
    batch_size: Annotated[int, typer.Option(min=1, help="--model이 한 번에 볼 영상 수")] = 8,
    trust_remote_code: Annotated[bool, typer.Option("--trust-remote-code", help=TRUST_HELP)] = False,
    as_json: Annotated[bool, typer.Option("--json", help="표 대신 JSON 객체 하나를 출력")] = False,
) -> None:
    """한국어 설명을 정답과 견주어 채점합니다."""
    options = {"metrics": tuple(metrics.split(",")), "resamples": resamples, "seed": seed}
    if model:
        told = {"batch_size": batch_size, "trust_remote_code": trust_remote_code}
        predictions, references = generate(model, data, output, frames, max_new_tokens, **told), data
    if not predictions or not references:
        raise RecordError("give PREDICTIONS and REFERENCES, or --model and --data", USAGE_KO)
    files = [predictions, other] if other else [predictions]
    systems = keep_common([read_pairs(file, references, allow_missing=allow_missing) for file in files])
    sheets, notes = [score(pairs, options) for pairs in systems], []
    if bertscore or siglip:
        from evaluation.neural_scores import add_neural_scores  # torch and transformers

        bar = partial(tqdm, desc="영상 읽기", leave=False)
        models = {"bertscore": bertscore, "siglip": siglip, "resamples": resamples, "seed": seed}
        sheets, notes = add_neural_scores(sheets, systems, progress=bar, **models)
    sheet, pairs = sheets[0], replace(systems[0], notes=(*systems[0].notes, *notes))
    comparison = compare(*sheets, resamples=resamples, seed=seed) if other else {}
    rows = [write_comparison(*(own.scores[name] for own in sheets), told) for name, told in comparison.items()]
    sources = {"예측": str(predictions), "정답": str(references)} | ({"비교": str(other)} if other else {})
    english, korean = baseline_comparison(sheet) if "meteor" in sheet.scores else ("", "")
    facts = sheet.to_json() | {
        "files": list(sources.values()),
        "notes": [vars(note) for note in pairs.notes],
        "baseline": english,
        "comparison": {name: vars(told) for name, told in comparison.items()},
    }
    matches = match_attributes(pairs, sheet)
    facts["attributes"] = {name: vars(match) for name, match in matches.items()}
    named = write_attributes(matches)
    parts = ReportParts(sources, korean, rows, named, facts)
    page = output and write_score_report(output / "report", sheet, pairs, parts)
    if as_json:
        print(json.dumps(facts, ensure_ascii=False))
    else:
        console = Console(width=None if sys.stdout.isatty() else 120)
        print_scores(console, sheet, notes=pairs.notes, baseline=korean, comparison=rows, attributes=named)
    if page:
        typer.echo(f"보고서: {page}", err=True)


def score(pairs: CaptionPairs, options: dict[str, Any]) -> ScoreSheet:
    """Score, with a bar on stderr while it takes time."""
    progress = partial(tqdm, desc="채점", leave=False)
    return score_captions(pairs.predictions, pairs.references, progress=progress, **options)


def match_attributes(pairs: CaptionPairs, sheet: ScoreSheet) -> dict[str, AttributeMatch]:
    """What captions of generated scenes name, against the truth; empty for other clips."""
    if not pairs.of_scenes:
        return {}
    captions = [pairs.predictions[name] for name in sheet.ids]
    return attribute_matches(captions, [pairs.references[name][0] for name in sheet.ids])


def generate(
    model: str,
    data: Path | None,
    output: Path | None,
    frames: int | None,
    max_new_tokens: int,
    *,
    batch_size: int,
    trust_remote_code: bool,
) -> Path:
    """Caption every clip of the records, or those that are missing; returns the file of captions."""
    if data is None or output is None:
        raise RecordError("--model needs --data and --output", "--model을 쓰려면 --data와 --output도 주세요.")
    from evaluation.generation import caption_records  # torch and transformers; scoring files does without
    from modeling.caption_lines import CaptionSettings
    from modeling.captioner import load_captioner
    from modeling.clip_reading import usual_workers

    for room in ("transformers", "processing"):
        logging.getLogger(room).setLevel(logging.ERROR)  # problems of files are told in Korean below
    records = list(read_records(data))
    path, settings = output / "predictions.jsonl", CaptionSettings(frames, False, max_new_tokens, do_sample=False)
    check_writable(path)
    captioner = load_captioner(model, trust_remote_code=trust_remote_code)
    for notice in settings.check(captioner):
        tell(f"[{notice.code}] {notice.message_ko}", f"  {notice}")
    bar = partial(tqdm, desc="설명", unit="clip", smoothing=0.1)
    options = {"model": model, "batch_size": batch_size, "workers": usual_workers(), "progress": bar}
    for captioned in caption_records(captioner, records, path, settings, **options):
        for problem in captioned.problems:
            tell(f"{captioned.line['file']}: [{problem.code}] {problem.message_ko}", f"  {problem}")
    return path


if __name__ == "__main__":
    typer.run(main)
