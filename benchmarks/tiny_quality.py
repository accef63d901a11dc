"""Does the model look at the video? Greedy captions of held-out generated scenes, attribute by attribute.

    python benchmarks/tiny_quality.py
    python benchmarks/tiny_quality.py --source frames --count 100     # quicker: drawn without video files

Every clip is written as a 640x360 mp4 and read back, so the whole line is measured. No training run uses these seeds.
"""

import sys
import tempfile
from pathlib import Path
from typing import Annotated, Literal

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import typer
from run_record import save_result
from tqdm import tqdm

from corpus.scene_captions import describe
from corpus.scenes import HELD_OUT_SEED, sample_scene, write_clip
from evaluation.caption_metrics import METEOR_TOKENS
from evaluation.generation import caption_clips
from evaluation.scene_accuracy import scene_scores
from evaluation.scoring import score_captions
from modeling.captioner import checkpoint_revision, load_captioner
from modeling.checkpoint_names import EMBEDDED_MODEL
from training.scene_clips import draw_clip


def main(
    model: Annotated[str, typer.Option(help="checkpoint folder or Hub id")] = EMBEDDED_MODEL,
    count: Annotated[int, typer.Option(min=2, help="clips")] = 500,
    source: Annotated[Literal["mp4", "frames"], typer.Option(help="read mp4 files, or draw frames directly")] = "mp4",
    show: Annotated[int, typer.Option(help="captions to print")] = 5,
    name: Annotated[str, typer.Option(help="name of the result file")] = "tiny_quality",
) -> None:
    """Score greedy captions of held-out scenes."""
    captioner = load_captioner(model)
    video_processor = captioner.processor.video_processor
    scenes = [sample_scene(HELD_OUT_SEED + index) for index in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        clips = []
        for scene in tqdm(scenes, desc="clips", unit="clip"):
            if source == "mp4":
                path = Path(folder) / f"{scene.seed}.mp4"
                write_clip(scene, path)
                clips.append(str(path))
            else:
                size = video_processor.size["height"]
                clip = draw_clip(scene, num_frames=video_processor.num_frames, image_size=size)
                clips.append(clip["frames"])
        captions = caption_clips(
            captioner, clips, progress=lambda batches: tqdm(batches, desc="captions", unit="batch")
        )
    scores = scene_scores(captions, scenes)
    print("| attribute | named correctly | with videos shuffled |\n|---|---|---|")
    print(f"| unique captions | {scores['unique']:.3f} | |")
    for key, value in scores.items():
        if f"shuffled_{key}" in scores:
            print(f"| {key} | {value:.3f} | {scores[f'shuffled_{key}']:.3f} |")
    sheet = score_captions(
        {str(scene.seed): caption for scene, caption in zip(scenes, captions)},
        {str(scene.seed): describe(scene) for scene in scenes},
        metrics=tuple(METEOR_TOKENS),
    )
    print("\n| METEOR | captions | best constant caption | shuffled |\n|---|---|---|---|")
    for metric, score in sheet.scores.items():
        floors = f"{score.constant:.4f} | {score.shuffled:.4f}"
        print(f"| {metric} | {score.value:.4f} ({score.low:.4f} to {score.high:.4f}) | {floors} |")
    print("alarms:", ", ".join(alarm.code for alarm in sheet.alarms) or "none")
    for scene, caption in list(zip(scenes, captions))[:show]:
        print(f"\n[{scene.seed}] {caption}")
    revision = checkpoint_revision(captioner)
    result = {"model": Path(model).name, "revision": revision, "clips": count, "source": source, "scores": scores}
    result |= {"meteor": sheet.to_json()["scores"], "alarms": [alarm.code for alarm in sheet.alarms]}
    print(f"\nsaved {save_result(name, result)}")


if __name__ == "__main__":
    typer.run(main)
