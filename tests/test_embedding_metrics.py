"""Neural scores, on tiny random models saved to disk."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from small_models import IMAGE_SIZE, WIDTH
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast, SiglipConfig, SiglipImageProcessor, SiglipModel
from transformers.models.siglip.processing_siglip import SiglipProcessor
from typer.testing import CliRunner

from corpus.records import caption_record
from corpus.scenes import sample_scene, write_clip
from evaluation.caption_files import CaptionPairs
from evaluation.embedding_metrics import VideoTextSimilarity, bert_score, embedding_score, similarities
from evaluation.neural_scores import add_neural_scores
from evaluation.scoring import ScoreError, compare, score_captions
from score import main
from training.tiny_model import train_tokenizer

CAPTIONS = ["하얀 파도가 밀려옵니다.", "구름이 산 위로 흘러갑니다.", "차들이 도심을 지나갑니다."]


def small_tokenizer() -> PreTrainedTokenizerFast:
    trained = train_tokenizer(CAPTIONS)
    return PreTrainedTokenizerFast(
        tokenizer_object=trained.backend_tokenizer, pad_token="<|endoftext|>", model_max_length=64
    )


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    torch.manual_seed(0)
    tokenizer = small_tokenizer()
    folder = tmp_path_factory.mktemp("bert")
    BertModel(BertConfig(vocab_size=len(tokenizer), max_position_embeddings=66, **WIDTH)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def siglip(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    tokenizer = small_tokenizer()
    text = WIDTH | {"vocab_size": len(tokenizer), "max_position_embeddings": 64, "pad_token_id": 0}
    text |= {"bos_token_id": None, "eos_token_id": None, "projection_size": 32}
    vision = WIDTH | {"image_size": IMAGE_SIZE, "patch_size": 16}
    folder = tmp_path_factory.mktemp("siglip")
    SiglipModel(SiglipConfig(text_config=text, vision_config=vision)).save_pretrained(folder)
    size = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    SiglipProcessor(SiglipImageProcessor(size=size), tokenizer).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def similarity(siglip) -> VideoTextSimilarity:
    return VideoTextSimilarity(siglip)


@pytest.fixture(scope="module")
def systems(tmp_path_factory) -> list[CaptionPairs]:
    """Two systems on four clips, the third of which cannot be read. The second says the references."""
    folder = tmp_path_factory.mktemp("clips")
    texts = dict(zip(("가", "나", "다", "라"), [*CAPTIONS, "비가 내립니다."], strict=True))
    for seed, name in enumerate(texts):
        write_clip(sample_scene(seed), folder / f"{name}.mp4", height=64, width=64, fps=2)
    (folder / "다.mp4").write_bytes(b"no video")
    videos = {name: folder / f"{name}.mp4" for name in texts}
    references = {name: (text,) for name, text in texts.items()}
    moved = dict(zip(texts, [*CAPTIONS[1:], "", "파도가 칩니다."]))
    return [CaptionPairs(moved, references, videos), CaptionPairs(texts, references, videos)]


def videos(count: int = 3) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (4, 3, 48, 80), dtype=np.uint8) for _ in range(count)]


def test_bert_score_of_identical_captions_is_one_and_of_others_less(bert):
    assert bert_score(CAPTIONS, [[text] for text in CAPTIONS], bert) == pytest.approx(1, abs=1e-5)
    others = bert_score(CAPTIONS, [[text] for text in CAPTIONS[1:] + CAPTIONS[:1]], bert)
    assert np.all(np.abs(others) < 1 - 1e-4)


def test_bert_score_takes_the_best_reference_and_does_not_depend_on_batches(bert):
    references = [["비가 옵니다.", text] for text in CAPTIONS]
    assert bert_score(CAPTIONS, references, bert) == pytest.approx(1, abs=1e-5)
    others = [[text] for text in CAPTIONS[1:] + CAPTIONS[:1]]
    together, alone = bert_score(CAPTIONS, others, bert), bert_score(CAPTIONS, others, bert, batch_size=1)
    assert together == pytest.approx(alone, abs=1e-5)


def test_bert_score_of_nothing_is_zero_and_of_a_long_text_is_cut(bert):
    scores = bert_score(["", CAPTIONS[0] * 40], [[CAPTIONS[0]], [CAPTIONS[0] * 40]], bert)
    assert scores[0] == 0
    assert scores[1] == pytest.approx(1, abs=1e-5)


def test_similarities_are_cosines_beside_their_shuffle(similarity):
    texts = similarity.embed_texts(CAPTIONS)
    shown = torch.stack([similarity.embed_video(frames) for frames in videos()])
    scores, shuffled = similarities(texts, shown)
    table = (texts @ shown.T).numpy()
    assert scores == pytest.approx(table.diagonal(), abs=1e-6)
    assert shuffled == pytest.approx(table[~np.eye(3, dtype=bool)].mean(), abs=1e-6)
    assert similarities(texts[:1], shown[:1])[1] is None


def test_an_empty_caption_is_like_no_video(similarity):
    assert similarity.embed_texts(["", CAPTIONS[0]]).norm(dim=1).tolist() == pytest.approx([0, 1], abs=1e-5)


def test_similarity_does_not_depend_on_the_batch(similarity):
    together = similarity.embed_texts(CAPTIONS)
    alone = torch.cat([similarity.embed_texts([text]) for text in CAPTIONS])
    assert torch.allclose(together, alone, atol=1e-5)


def test_a_still_video_is_its_frame(similarity):
    (frames,) = videos(1)
    still = np.repeat(frames[:1], 4, axis=0)
    assert torch.allclose(similarity.embed_video(still), similarity.embed_video(frames[:1]), atol=1e-5)
    assert similarity.embed_video(frames).norm() == pytest.approx(1, abs=1e-5)


def test_values_become_a_score_like_the_others():
    score = embedding_score(np.array([0.1, np.nan, 0.2, 0.3]), "siglip|model:tiny", constant=0.1, shuffled=0.1)
    assert score.name == "siglip"
    assert score.value == pytest.approx(0.2)
    assert score.low < score.value < score.high
    assert len(score.per_clip) == 4, "a clip left out keeps its place"


def test_a_model_that_is_not_on_disk_is_no_download():
    with pytest.raises(ScoreError, match="E_SCORE: klue/roberta-large is no folder"):
        bert_score(CAPTIONS, [[text] for text in CAPTIONS], "klue/roberta-large")


def test_two_systems_share_videos_and_floors(systems, bert, siglip):
    read = []
    sheets = [score_captions(pairs.predictions, pairs.references, resamples=50) for pairs in systems]
    models = {"bertscore": bert, "siglip": siglip}
    added, (note,) = add_neural_scores(
        sheets, systems, **models, progress=lambda ids: (read.append(i) or i for i in ids)
    )
    assert read == ["가", "나", "다", "라"], "every video is read once"
    assert "다 (E_NOT_VIDEO)" in note.message and "다 (E_NOT_VIDEO)" in note.message_ko
    first, second = (sheet.scores["siglip"] for sheet in added)
    assert np.flatnonzero(np.isnan(first.per_clip)).tolist() == [2]
    assert first.constant == second.constant
    assert added[1].scores["bertscore"].per_clip == pytest.approx(1, abs=1e-5)
    assert added[1].scores["bertscore"].constant < 0.999, "not beside its own reference"
    told = compare(*added)
    for name in ("bertscore", "siglip"):
        first, second = (sheet.scores[name] for sheet in added)
        assert told[name].difference == pytest.approx(first.value - second.value)
        assert told[name].low < told[name].difference < told[name].high
    assert {alarm.code for alarm in added[1].alarms} >= {alarm.code for alarm in sheets[1].alarms}


def test_a_clip_without_a_video_and_no_readable_video_are_told(systems, siglip):
    pairs = systems[0]
    sheet = score_captions(pairs.predictions, pairs.references, metrics=("chrf++",), resamples=10)
    for videos, told in (
        ({}, "4 clips name no video"),
        (dict.fromkeys("가나다라", pairs.videos["다"]), "no video can be"),
    ):
        bare = CaptionPairs(pairs.predictions, pairs.references, videos)
        with pytest.raises(ScoreError, match=told):
            add_neural_scores([sheet], [bare], siglip=siglip)


def test_the_command_compares_neural_scores_like_every_other(systems, bert, siglip, tmp_path):
    references = [
        caption_record(name, str(systems[0].videos[name]), text) for name, (text,) in systems[0].references.items()
    ]
    rows = {"true": [record.row() for record in references]}
    rows |= {
        f"said_{place}": [{"id": name, "caption": text} for name, text in pairs.predictions.items()]
        for place, pairs in enumerate(systems)
    }
    files = {name: tmp_path / f"{name}.jsonl" for name in rows}
    for name, lines in rows.items():
        files[name].write_text("".join(json.dumps(row) + "\n" for row in lines), encoding="utf-8")
    script = typer.Typer()
    script.command()(main)
    models = ["--bertscore", bert, "--siglip", siglip, "--metrics", "meteor"]
    arguments = [files["said_0"], files["true"], "--compare", files["said_1"], "--output", tmp_path / "out", *models]
    done = CliRunner().invoke(script, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    assert "W_NOT_SEEN: 읽지 못한 영상 1개는" in done.stdout
    facts = json.loads((tmp_path / "out/report/scores.json").read_text("utf-8"))
    assert [note["code"] for note in facts["notes"]] == ["W_NOT_SEEN"]
    assert list(facts["comparison"]) == list(facts["scores"]) == ["meteor", "bertscore", "siglip"]
    for score in facts["scores"].values():
        assert None not in score.values()
        assert score["low"] <= score["value"] <= score["high"]
    assert facts["scores"]["siglip"]["signature"].startswith("siglip|cosine|model:siglip")
    assert "**W_NOT_SEEN**" in (tmp_path / "out/report/report.md").read_text("utf-8")
