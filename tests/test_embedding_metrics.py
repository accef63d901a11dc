"""Neural scores, on tiny random models saved to disk."""

import numpy as np
import pytest
import torch
from small_models import IMAGE_SIZE, WIDTH
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast, SiglipConfig, SiglipImageProcessor, SiglipModel
from transformers.models.siglip.processing_siglip import SiglipProcessor

from evaluation.embedding_metrics import VideoTextSimilarity, bert_score, embedding_score
from evaluation.scoring import ScoreError
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
def similarity(tmp_path_factory) -> VideoTextSimilarity:
    torch.manual_seed(0)
    tokenizer = small_tokenizer()
    text = WIDTH | {"vocab_size": len(tokenizer), "max_position_embeddings": 64, "pad_token_id": 0}
    text |= {"bos_token_id": None, "eos_token_id": None, "projection_size": 32}
    vision = WIDTH | {"image_size": IMAGE_SIZE, "patch_size": 16}
    folder = tmp_path_factory.mktemp("siglip")
    SiglipModel(SiglipConfig(text_config=text, vision_config=vision)).save_pretrained(folder)
    size = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    SiglipProcessor(SiglipImageProcessor(size=size), tokenizer).save_pretrained(folder)
    return VideoTextSimilarity(folder)


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
    scores, shuffled = similarity.score(CAPTIONS, videos())
    assert scores.shape == (3,)
    assert np.all(np.abs(scores) <= 1)
    assert -1 <= shuffled <= 1
    assert similarity.score(CAPTIONS[:1], videos(1))[1] is None


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
    score = embedding_score("siglip", np.array([0.1, 0.2, 0.3]), "siglip|model:tiny", shuffled=0.1, resamples=50)
    assert score.value == pytest.approx(0.2)
    assert score.low < score.value < score.high


def test_a_model_that_is_not_on_disk_is_no_download():
    with pytest.raises(ScoreError, match="E_SCORE: klue/roberta-large is no folder"):
        bert_score(CAPTIONS, [[text] for text in CAPTIONS], "klue/roberta-large")
