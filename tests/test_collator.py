"""CaptionCollator: labels stand on the assistant's words, whatever is looked at and whoever has looked at it before."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import frames_array, qwen_tokenizer, small_pair, vicuna_tokenizer

from training.collator import IGNORED, CaptionCollator

MARKS = {"video": "<video>", "image": "<image>"}


def said(question: str, answer: str, *more: str) -> list[dict]:
    """A conversation; questions and answers take turns."""
    roles = ("user", "assistant")
    return [{"role": roles[i % 2], "content": text} for i, text in enumerate((question, answer, *more))]


def item(messages: list[dict], num_frames: int = 3, *, medium: str = "video", seed: int = 0) -> dict:
    num_frames = num_frames if medium == "video" else 1
    times_s = [0.5 + 9.7 * index for index in range(num_frames)] if medium == "video" else None
    frames = frames_array(num_frames, seed=seed).transpose(0, 3, 1, 2)
    return {"id": str(seed), "messages": messages, "medium": medium, "frames": frames, "times_s": times_s}


def with_features(model, processor, given: dict) -> dict:
    """The same item, looked at before."""
    frames = torch.from_numpy(given["frames"])
    if given["medium"] == "image":
        pixels = processor.image_processor(frames[0], return_tensors="pt")["pixel_values"]
    else:
        pixels = processor.video_processor(frames, do_sample_frames=False, return_tensors="pt")["pixel_values_videos"]
    with torch.no_grad():
        features = model.model.encode_frames(pixels.reshape(-1, *pixels.shape[-3:]))
    return {name: value for name, value in given.items() if name != "frames"} | {"features": features}


ITEMS = [
    item(said("<video>설명", "하얀 파도가 밀려옵니다.")),
    item(said("무엇이 보이나요? <video> 짧게.", "해안"), 2, seed=1),
    item(said("<image>설명", "산이 보입니다.", "계절은?", "겨울입니다."), medium="image", seed=2),
    item([{"role": "system", "content": "짧게 답하세요."}, *said("<video>여기는?", "숲")], 1, seed=3),
]


@pytest.fixture(scope="module")
def pair():
    return small_pair()


@pytest.mark.parametrize("timestamps", [False, True])
@pytest.mark.parametrize(
    "tokenizer", [qwen_tokenizer(), qwen_tokenizer(hybrid=True), vicuna_tokenizer()], ids=["qwen", "hybrid", "vicuna"]
)
def test_labels_are_exactly_the_answers_and_their_ends(tokenizer, timestamps):
    _, processor = small_pair(tokenizer=tokenizer, frame_timestamps=timestamps)
    batch = CaptionCollator(processor)(ITEMS)
    labels, ids = batch["labels"], batch["input_ids"]
    for row, clip in enumerate(ITEMS):
        learned = labels[row] != IGNORED
        answers = [turn["content"] + tokenizer.eos_token for turn in clip["messages"] if turn["role"] == "assistant"]
        assert torch.equal(labels[row][learned], ids[row][learned])
        starts = (learned & ~learned.roll(1)).nonzero().flatten().tolist()
        ends = (learned & ~learned.roll(-1)).nonzero().flatten().tolist()
        spans = [labels[row][start : end + 1] for start, end in zip(starts, ends, strict=True)]
        assert [processor.tokenizer.decode(span).strip() for span in spans] == answers
        assert not (learned & ~batch["attention_mask"][row].bool()).any()
    assert not torch.isin(labels, torch.tensor([processor.video_token_id, processor.image_token_id])).any()
    assert "assistant_masks" not in batch and batch["pixel_values_videos_mask"].sum(1).tolist() == [3, 2, 1]
    assert batch["pixel_values"].shape == (1, 3, 64, 64)
    assert set(batch) - {"labels"} <= set(processor.model_input_names)


def test_training_sees_the_prompt_that_inference_writes():
    _, processor = small_pair(tokenizer=qwen_tokenizer(hybrid=True))
    clip = ITEMS[0]
    batch = CaptionCollator(processor)([clip])
    content = [{"type": "video", "video": clip["frames"]}, {"type": "text", "text": "설명"}]
    prompt = processor.apply_chat_template(
        [{"role": "user", "content": content}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )["input_ids"][0]
    first = int((batch["labels"][0] != IGNORED).nonzero()[0])
    assert torch.equal(batch["input_ids"][0, :first], prompt)


def test_loss_is_the_cross_entropy_of_the_answers(pair):
    model, processor = pair
    batch = CaptionCollator(processor)(ITEMS)
    with torch.no_grad():
        outputs = model(**batch)
    log_probabilities = outputs.logits[:, :-1].log_softmax(-1)
    targets = batch["labels"][:, 1:]
    learned = targets != IGNORED
    by_hand = -log_probabilities[learned].gather(1, targets[learned][:, None]).mean()
    torch.testing.assert_close(outputs.loss, by_hand)


def test_all_frames_given_are_seen():
    _, processor = small_pair(num_frames=2)
    assert CaptionCollator(processor)([item(ITEMS[0]["messages"], 7)])["pixel_values_videos"].shape[:2] == (1, 7)


TEXTS = st.text("바다 산이.?A1", min_size=1, max_size=8).filter(str.strip)


@st.composite
def batches(draw) -> list[dict]:
    items = []
    for seed in range(draw(st.integers(1, 4))):
        medium = draw(st.sampled_from(["video", "image"]))
        turns = draw(st.lists(TEXTS, min_size=2, max_size=4).filter(lambda turns: len(turns) % 2 == 0))
        marked = 2 * draw(st.integers(0, len(turns) // 2 - 1))
        turns[marked] = draw(TEXTS) * draw(st.booleans()) + MARKS[medium] + turns[marked]
        items.append(item(said(*turns), draw(st.integers(1, 3)), medium=medium, seed=seed))
    return items


PAIRS = {timestamps: small_pair(frame_timestamps=timestamps) for timestamps in (False, True)}


@settings(max_examples=20, deadline=None)
@given(batches(), st.booleans())
def test_features_and_frames_give_the_same_batch(items, timestamps):
    """The same tokens, labels and loss; as many placeholders as features; and a batch weighs its items by tokens."""
    model, processor = PAIRS[timestamps]
    collate = CaptionCollator(processor)
    frames, features = collate(items), collate([with_features(model, processor, given) for given in items])
    for name in ("input_ids", "attention_mask", "labels"):
        assert torch.equal(frames[name], features[name])
    assert not {"pixel_values", "pixel_values_videos"} & set(features)
    placeholders = {"image": processor.image_token_id, "video": processor.video_token_id}
    for medium, token in placeholders.items():
        count = sum(len(given["frames"]) for given in items if given["medium"] == medium)
        assert (frames["input_ids"] == token).sum() == count * processor.tokens_per_frame
    with torch.no_grad():
        loss = model(**frames).loss
        torch.testing.assert_close(model(**features).loss, loss)
        singles = [collate([given]) for given in items]
        counts = [(single["labels"] != IGNORED).sum() for single in singles]
        alone = sum(model(**single).loss * count for single, count in zip(singles, counts)) / sum(counts)
    torch.testing.assert_close(loss, alone)


def test_features_of_any_type_reach_the_model(pair):
    model, processor = pair
    seen = [with_features(model, processor, given) for given in ITEMS]
    batch = CaptionCollator(processor)([given | {"features": given["features"].bfloat16()} for given in seen])
    assert batch["video_features"].dtype == batch["image_features"].dtype == torch.bfloat16
    with torch.no_grad():
        assert model(**batch).loss.isfinite()


def test_problems_are_collected_beside_the_model_inputs(pair):
    collate = CaptionCollator(pair[1])
    problem = {"id": "9", "code": "E_EMPTY", "message": "...", "message_ko": "..."}
    assert collate([ITEMS[0], ITEMS[1] | {"problem": problem}])["problems"] == [problem]
    assert "problems" not in collate(ITEMS)


@pytest.mark.parametrize(
    ("items", "reason"),
    [
        ([ITEMS[0] | {"frames": None}], "either frames or features"),
        ([ITEMS[0] | {"features": torch.zeros(3, 4, 32)}], "either frames or features"),
        ([ITEMS[0], ITEMS[1] | {"frames": None, "features": torch.zeros(2, 4, 32)}], "some items"),
        ([ITEMS[0] | {"messages": said("설명", "바다")}], "stands 0 times"),
        ([ITEMS[0] | {"messages": said("<video><video>", "바다")}], "stands 2 times"),
    ],
)
def test_items_that_would_be_learned_wrongly_are_refused(pair, items, reason):
    with pytest.raises(ValueError, match=reason):
        CaptionCollator(pair[1])(items)
