"""Train KoCap on your videos with the GPU you have: first the projector, then an adapter on the language model.

    python train.py --preset t4 --data data/aihub/train.jsonl --eval_data data/aihub/val.jsonl --output out/kocap-t4
    python train.py settings.yaml --resume auto              # the same from a file; goes on where a run stopped
    python train.py --preset a100 --data data/aihub/train.jsonl --output out/kocap-a100 --push you/kocap-ko
    python train.py --preset l4 --output out/kocap-l4 --dry-run     # what it would do, and the memory it needs
    python train.py --preset tiny --output checkpoints/kocap-tiny   # remakes the embedded model

OUTPUT/base is the whole model after the first stage, OUTPUT/adapter what the second adds to it; OUTPUT/align/report and
OUTPUT/caption/report say how it goes, while it goes. Any flag of transformers' TrainingArguments works, too. The exit
code is 0 when all is done, 1 when something was wrong, 3 when captions collapsed, 143 when the run was told to stop
(SIGTERM or Ctrl-C) and saved a checkpoint, 130 after Ctrl-C where there was nothing to save.
"""

import logging
import sys
from collections import Counter
from pathlib import Path

from configuration.script_endings import coded_ending, quiet_until_main

if __name__ == "__main__":
    quiet_until_main()

from accelerate import PartialState

from configuration.disk_writing import writing
from serving.run_publishing import push_run, write_cards
from training.run_records import hold_out, read_all
from training.run_settings import as_yaml, parse_settings, stage_arguments
from training.run_start import check_stages, describe_run, find_base, find_checkpoint, is_finished
from training.stages import StageData, run_stage
from training.tiny_recipe import describe_tiny, make_tiny

COLLAPSED, TOLD_TO_STOP = 3, 143
GO_ON = "저장된 체크포인트가 있으면 --resume auto를 붙여 다시 실행해 이어서 학습할 수 있습니다."


def main(argv: list[str]) -> int:
    """Do what the settings say; returns the exit code."""
    settings, flags = parse_settings(argv)
    if settings.preset == "tiny":
        if settings.dry_run:
            say(describe_tiny(settings, flags))
            return 0
        return 0 if make_tiny(settings, flags) else stopped()
    arguments = {stage: stage_arguments(settings, stage, flags) for stage in settings.stages}
    check_stages(list(arguments.values()))
    say(describe_run(settings, list(arguments.values())))
    if settings.dry_run:
        return 0
    folders = {stage: Path(told.output_dir) for stage, told in arguments.items()}
    resume = {stage: find_checkpoint(settings, folder) for stage, folder in folders.items()}
    data = StageData(*hold_out(read_all(settings.data), settings.eval_data, settings.watch_clips))
    base = find_base(settings)
    if PartialState().is_main_process:
        with writing(settings.output, "the run"):
            Path(settings.output).mkdir(parents=True, exist_ok=True)
            (Path(settings.output) / "settings.yaml").write_text(as_yaml(settings, flags), encoding="utf-8")
    tower = None
    for stage in settings.stages:
        if is_finished(folders[stage]):
            say(f"== {stage}: 이미 끝났습니다.")
            continue
        say(f"== {stage}: 영상 {len(data.train)}개로 학습, {len(data.held_out)}개로 점검")
        outcome = run_stage(settings, stage, base, data, arguments[stage], resume=resume[stage], tower=tower)
        tower = outcome.tower
        if outcome.problems:
            codes = ", ".join(f"{code} {n}" for code, n in Counter(p["code"] for p in outcome.problems).items())
            say(f"   읽을 수 없어 빼고 학습한 영상 {len(outcome.problems)}개 ({codes})")
        if outcome.stopped_for:
            say(f"🚨 {outcome.stopped_for.message_ko}\n   보고서: {folders[stage] / 'report' / 'report.md'}")
            return COLLAPSED
        if not outcome.finished:
            return stopped()
        say(f"   값 {outcome.trainable:,}개를 학습했습니다: {outcome.folder}")
    if PartialState().is_main_process:
        with writing(settings.output, "model cards"):
            write_cards(settings, arguments, base, ["python", "train.py", *argv])
        if settings.push:
            say("\n".join(push_run(settings, base)))
    return 0


def stopped() -> int:
    """Say that, and how to go on."""
    say("종료 신호를 받아 체크포인트를 저장했습니다. --resume auto를 붙여 다시 실행하면 이어서 학습합니다.")
    return TOLD_TO_STOP


def say(text: str) -> None:
    """Print once, however many processes train."""
    if PartialState().is_main_process:
        print(text, flush=True)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    sys.exit(coded_ending(interrupted=GO_ON)(main)(sys.argv[1:]))
