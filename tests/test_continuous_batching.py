"""Answers that share steps are the answers that `generate` gives one by one."""

import queue
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from small_models import frames_pil

from modeling.captioner import load_captioner
from processing.pipeline_kocap import KoCapPipeline
from serving.continuous_batching import ContinuousBatcher

SLOTS, CONTEXT, NUM_TOKENS = 3, 512, 16
PATIENT_S = 60.0
LIKELIEST = {"temperature": 0.0, "top_p": 1.0, "top_k": 50}
WILD = {"temperature": 2.0, "top_p": 1.0, "top_k": 1 << 30}


class Batch:
    """A batcher, and what it delivers."""

    def __init__(self, folder: Path):
        self.outputs: queue.SimpleQueue[tuple[str, list[int], bool]] = queue.SimpleQueue()
        self.failures: list[str | None] = []
        self.pipe = load_captioner(str(folder))
        self.batcher = ContinuousBatcher(
            self.pipe.model,
            deliver=lambda *output: self.outputs.put(output),
            fail=self.failures.append,
            slots=SLOTS,
            max_context=CONTEXT,
        )

    def finish(self, names: set[str]) -> dict[str, list[int]]:
        """The tokens of these answers, once all are finished."""
        done = {}
        while names - done.keys():
            name, tokens, finished = self.outputs.get(timeout=PATIENT_S)
            if finished:
                done[name] = tokens
        return done


@pytest.fixture(scope="module")
def plain(tiny_checkpoint: Path) -> KoCapPipeline:
    return load_captioner(str(tiny_checkpoint))


@pytest.fixture(scope="module")
def batch(tiny_checkpoint: Path) -> Iterator[Batch]:
    batch = Batch(tiny_checkpoint)
    yield batch
    assert batch.failures == []
    batch.batcher.close()


def chat(*parts: object) -> list[dict]:
    kinds = {str: ("text", "text"), list: ("video", "video")}
    content = []
    for part in parts:
        kind, key = kinds.get(type(part), ("image", "image"))
        content.append({"type": kind, key: part})
    return [{"role": "user", "content": content}]


def clip(num_frames: int, seed: int) -> list:
    return frames_pil(num_frames, seed=seed)


CHATS = {
    "one video": chat(clip(4, 0), "무엇이 보이나요?"),
    "another video": chat(clip(2, 1), "이 영상을 한국어로 상세히 묘사해주세요."),
    "two videos": chat(clip(2, 2), "그리고", clip(4, 3), "무엇이 다른가요?"),
    "a picture": chat(frames_pil(1, seed=4)[0], "무엇인가요?"),
    "a picture, then a video": chat(frames_pil(1, seed=5)[0], clip(3, 6), "같은 곳인가요?"),
    "text alone": chat("안녕하세요."),
}


def prepare(pipe: KoCapPipeline, messages: list[dict]) -> dict:
    return dict(pipe.preprocess({"chats": [messages], "video_metadata": None}, do_sample_frames=False)["inputs"])


def generate(pipe: KoCapPipeline, messages: list[dict]) -> list[int]:
    inputs = prepare(pipe, messages)
    output = pipe.model.generate(**inputs, do_sample=False, max_new_tokens=NUM_TOKENS)
    return output[0, inputs["input_ids"].shape[1] :].tolist()


def test_more_answers_than_slots_at_once_equal_generate_one_by_one(batch, plain):
    for name, messages in CHATS.items():  # twice as many as slots: they wait for each other, and rows are used again
        batch.batcher.add(name, prepare(batch.pipe, messages), max_new_tokens=NUM_TOKENS, **LIKELIEST)
    answers = batch.finish(set(CHATS))
    expected = {name: generate(plain, messages) for name, messages in CHATS.items()}
    assert answers == expected
    assert len({tuple(tokens) for tokens in answers.values()}) == len(CHATS)


def test_frames_matter(batch, plain):
    inputs = prepare(batch.pipe, CHATS["one video"])
    ids = batch.batcher._place(0, inputs)
    vocabulary = batch.batcher._embedding.words.num_embeddings
    beyond = [token for token in ids if token >= vocabulary]
    assert len(beyond) == int((inputs["input_ids"] == plain.processor.video_token_id).sum()) > 0
    shown = plain.model.get_video_features(inputs["pixel_values_videos"], return_dict=True).pooler_output
    looked_up = batch.batcher._embedding(torch.tensor(beyond))
    torch.testing.assert_close(looked_up, shown[0])


def test_each_answer_has_its_own_temperature(batch, plain):
    messages = CHATS["one video"]
    settings = {"cold": LIKELIEST, "wild": WILD, "wild too": WILD}
    for name, sampling in settings.items():
        batch.batcher.add(name, prepare(batch.pipe, messages), max_new_tokens=NUM_TOKENS, **sampling)
    answers = batch.finish(set(settings))
    assert answers["cold"] == generate(plain, messages)
    assert answers["wild"] != answers["wild too"]  # 16 tokens of hundreds at random


def test_an_abandoned_answer_frees_its_slot(batch, plain):
    names = [f"long {i}" for i in range(SLOTS)]
    for name in names:
        batch.batcher.add(name, prepare(batch.pipe, CHATS["text alone"]), max_new_tokens=CONTEXT // 2, **WILD)
    for name in names:
        batch.batcher.cancel(name)
        batch.batcher.cancel(name)  # nothing more happens
    batch.batcher.add("next", prepare(batch.pipe, CHATS["a picture"]), max_new_tokens=NUM_TOKENS, **LIKELIEST)
    assert batch.finish({"next"})["next"] == generate(plain, CHATS["a picture"])
    assert batch.batcher._free.qsize() == SLOTS


def test_what_does_not_fit_is_refused_and_takes_no_slot(batch):
    inputs = prepare(batch.pipe, CHATS["one video"])
    with pytest.raises(ValueError, match=f"over {CONTEXT} tokens"):
        batch.batcher.add("too long", inputs, max_new_tokens=CONTEXT, **LIKELIEST)
    inputs["pixel_values_videos"] = inputs["pixel_values_videos"][:, :1]
    with pytest.raises(ValueError, match="placeholders for"):
        batch.batcher.add("too few frames", inputs, max_new_tokens=1, **LIKELIEST)
    assert batch.batcher._free.qsize() == SLOTS
