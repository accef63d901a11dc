"""Answers that share steps are the answers that `generate` gives one by one."""

import queue
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from small_models import frames_pil

from modeling.captioner import load_captioner
from processing.pipeline_kocap import KoCapPipeline
from serving.continuous_batching import ContinuousBatcher
from serving.token_sampling import TokenSampling

SLOTS, CONTEXT, NUM_TOKENS = 3, 512, 16
PATIENT_S = 30.0
LIKELIEST = TokenSampling()
WILD = TokenSampling(temperature=2.0)


class Batch:
    """A batcher, and what it delivers."""

    def __init__(self, folder: Path):
        self.outputs: queue.SimpleQueue[tuple[str, list[int], bool]] = queue.SimpleQueue()
        self.failures: queue.SimpleQueue[tuple[list[str], bool]] = queue.SimpleQueue()
        self.pipe = load_captioner(str(folder))
        self.batcher = ContinuousBatcher(
            self.pipe.model,
            deliver=lambda *output: self.outputs.put(output),
            fail=lambda *failure: self.failures.put(failure),
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
    assert batch.failures.empty()
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
        batch.batcher.add(name, prepare(batch.pipe, messages), max_new_tokens=NUM_TOKENS, sampling=LIKELIEST)
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
        batch.batcher.add(name, prepare(batch.pipe, messages), max_new_tokens=NUM_TOKENS, sampling=sampling)
    answers = batch.finish(set(settings))
    assert answers["cold"] == generate(plain, messages)
    assert answers["wild"] != answers["wild too"]  # 16 tokens of hundreds at random


def test_an_abandoned_answer_frees_its_slot(batch, plain):
    names = [f"long {i}" for i in range(SLOTS)]
    for name in names:
        batch.batcher.add(name, prepare(batch.pipe, CHATS["text alone"]), max_new_tokens=CONTEXT // 2, sampling=WILD)
    for name in names:
        batch.batcher.cancel(name)
        batch.batcher.cancel(name)  # nothing more happens
    batch.batcher.add("next", prepare(batch.pipe, CHATS["a picture"]), max_new_tokens=NUM_TOKENS, sampling=LIKELIEST)
    assert batch.finish({"next"})["next"] == generate(plain, CHATS["a picture"])
    assert batch.batcher._free.qsize() == SLOTS


def test_what_does_not_fit_is_refused_and_takes_no_slot(batch):
    inputs = prepare(batch.pipe, CHATS["one video"])
    with pytest.raises(ValueError, match=f"over {CONTEXT} tokens"):
        batch.batcher.add("too long", inputs, max_new_tokens=CONTEXT, sampling=LIKELIEST)
    inputs["pixel_values_videos"] = inputs["pixel_values_videos"][:, :1]
    with pytest.raises(ValueError, match="placeholders for"):
        batch.batcher.add("too few frames", inputs, max_new_tokens=1, sampling=LIKELIEST)
    assert batch.batcher._free.qsize() == SLOTS


def sampled(batch: Batch, names: list[str], sampling: TokenSampling) -> list[list[int]]:
    for name in names:
        inputs = prepare(batch.pipe, CHATS["one video"])
        batch.batcher.add(name, inputs, max_new_tokens=NUM_TOKENS, sampling=sampling)
    answers = batch.finish(set(names))
    return [answers[name] for name in names]


def test_a_seed_gives_the_same_answer_whoever_its_neighbours_are(batch):
    seeded = replace(WILD, seed=7)
    (alone,) = sampled(batch, ["seeded alone"], seeded)
    chats = {"neighbour": ("two videos", WILD), "seeded": ("one video", seeded), "seeded too": ("one video", seeded)}
    for name, (chat_name, sampling) in chats.items():
        batch.batcher.add(name, prepare(batch.pipe, CHATS[chat_name]), max_new_tokens=NUM_TOKENS, sampling=sampling)
    answers = batch.finish(set(chats))
    assert answers["seeded"] == answers["seeded too"] == alone
    (other,) = sampled(batch, ["another seed"], replace(WILD, seed=8))
    assert other != alone


def test_sampling_follows_the_probabilities(batch, plain):
    inputs = prepare(plain, CHATS["one video"])
    with torch.no_grad():
        expected = plain.model(**inputs).logits[0, -1].softmax(-1)
    counts = torch.zeros_like(expected)
    for round in range(20):
        names = [f"count {round}.{number}" for number in range(20)]
        for name in names:
            sampling = TokenSampling(temperature=1.0)
            batch.batcher.add(name, dict(inputs), max_new_tokens=1, sampling=sampling)
        for (token,) in batch.finish(set(names)).values():
            counts[token] += 1
    likely = expected.topk(5).indices
    drawn, spread = counts[likely] / 400, (expected[likely] * (1 - expected[likely]) / 400).sqrt()
    assert ((drawn - expected[likely]).abs() < 5 * spread + 1e-3).all()


@pytest.mark.parametrize("penalty", [1.3, 0.8])
def test_a_repetition_penalty_is_that_of_generate(batch, plain, penalty):
    inputs = prepare(plain, CHATS["one video"])
    settings = {"do_sample": False, "max_new_tokens": NUM_TOKENS}
    output = plain.model.generate(**inputs, **settings, repetition_penalty=penalty)
    expected = output[0, inputs["input_ids"].shape[1] :].tolist()
    assert expected != generate(plain, CHATS["one video"])
    settings = {f"none {penalty}": LIKELIEST}
    settings |= {f"{number} of {penalty}": TokenSampling(repetition_penalty=penalty) for number in range(2)}
    for name, sampling in settings.items():  # side by side
        batch.batcher.add(name, dict(inputs), max_new_tokens=NUM_TOKENS, sampling=sampling)
    answers = batch.finish(set(settings))
    assert answers == dict.fromkeys(settings, expected) | {f"none {penalty}": generate(plain, CHATS["one video"])}


@pytest.mark.parametrize("penalty", [1.0, 1.2])
def test_one_candidate_is_greedy(batch, plain, penalty):
    few = TokenSampling(temperature=2.0, top_k=1, repetition_penalty=penalty)
    (answer,) = sampled(batch, [f"one of one {penalty}"], few)
    (greedy,) = sampled(batch, [f"greedy {penalty}"], TokenSampling(repetition_penalty=penalty))
    assert answer == greedy


class PoisonError(Exception):
    """A step breaks down."""


@pytest.fixture
def poisoned(tiny_checkpoint: Path) -> Iterator[Batch]:
    """A batch of its own: each step takes a permit, and breaks down on the token `poison`, or while `dead` is set."""
    batch = Batch(tiny_checkpoint)
    batch.poison = batch.pipe.processor.video_token_id  # in a prompt without a video
    batch.dead, batch.permits = threading.Event(), threading.Semaphore(0)
    batch.entered, batch.broken_steps = queue.SimpleQueue(), 0

    def break_down(_module, arguments, keywords):
        batch.entered.put(None)
        batch.permits.acquire()
        ids = keywords["input_ids"] if "input_ids" in keywords else arguments[0]
        if batch.broken_steps:
            batch.broken_steps -= 1
            raise PoisonError
        if batch.dead.is_set() or bool((ids == batch.poison).any()):
            raise PoisonError

    hook = batch.pipe.model.model.language_model.register_forward_pre_hook(break_down, with_kwargs=True)
    yield batch
    batch.permits.release(1 << 10)
    hook.remove()
    batch.batcher.close()


@pytest.mark.parametrize("sampling", [LIKELIEST, replace(WILD, seed=5)], ids=["greedy", "seeded"])
def test_a_step_that_breaks_down_fails_only_the_answer_that_did_it(poisoned, batch, plain, sampling):
    names = ["one video", "a picture"]
    for name in names:
        inputs = prepare(batch.pipe, CHATS[name])
        batch.batcher.add(f"{name} {sampling}", inputs, max_new_tokens=NUM_TOKENS, sampling=sampling)
    expected = batch.finish({f"{name} {sampling}" for name in names})
    for name in names:
        inputs = prepare(poisoned.pipe, CHATS[name])
        poisoned.batcher.add(name, inputs, max_new_tokens=NUM_TOKENS, sampling=sampling)
    poisoned.permits.release()
    written = poisoned.outputs.get(timeout=PATIENT_S)  # they are in the middle of it
    assert not written[2]
    inputs = prepare(poisoned.pipe, CHATS["text alone"])
    inputs["input_ids"][0, -1] = poisoned.poison
    poisoned.batcher.add("culprit", inputs, max_new_tokens=NUM_TOKENS, sampling=sampling)
    poisoned.permits.release(1 << 10)
    assert poisoned.failures.get(timeout=PATIENT_S) == (["culprit"], False)
    answers = poisoned.finish(set(names))
    assert {f"{name} {sampling}": tokens for name, tokens in answers.items()} == expected
    assert written[1] == answers[written[0]][: len(written[1])]
    inputs = prepare(poisoned.pipe, CHATS["text alone"])
    poisoned.batcher.add("next", inputs, max_new_tokens=NUM_TOKENS, sampling=LIKELIEST)
    assert poisoned.finish({"next"})["next"] == generate(plain, CHATS["text alone"])
    assert poisoned.failures.empty() and poisoned.batcher._free.qsize() == SLOTS


def test_an_answer_that_is_abandoned_while_it_is_tried_alone_holds_up_nobody(poisoned, plain):
    for name in ("leaves", "stays"):
        inputs = prepare(poisoned.pipe, CHATS["one video"])
        poisoned.batcher.add(name, inputs, max_new_tokens=NUM_TOKENS, sampling=LIKELIEST)
    poisoned.broken_steps = 1
    poisoned.entered.get(timeout=PATIENT_S)
    poisoned.permits.release()
    poisoned.entered.get(timeout=PATIENT_S)  # the step that tries the first one alone, and waits for a permit
    poisoned.batcher.cancel("leaves")
    poisoned.permits.release(1 << 10)
    assert poisoned.finish({"stays"})["stays"] == generate(plain, CHATS["one video"])
    assert poisoned.failures.empty() and poisoned.batcher._free.qsize() == SLOTS


def test_a_model_that_works_no_more_says_on_what_it_broke_down(poisoned):
    poisoned.dead.set()
    poisoned.permits.release(1 << 10)
    inputs = prepare(poisoned.pipe, CHATS["text alone"])
    poisoned.batcher.add("last", inputs, max_new_tokens=NUM_TOKENS, sampling=LIKELIEST)
    assert poisoned.failures.get(timeout=PATIENT_S) == (["last"], True)
