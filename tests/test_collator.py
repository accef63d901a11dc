"""CaptionCollator: labels stand on the answer and its end, and nowhere else."""

import pytest
import torch
from small_models import frames_array, qwen_tokenizer, small_pair, vicuna_tokenizer

from training.collator import IGNORED, CaptionCollator

CLIPS = [
    {"frames": frames_array(3), "times_s": [0.0, 1.0, 2.0], "prompt": "설명", "answer": "하얀 파도가 밀려옵니다."},
    {"frames": frames_array(2, seed=1), "times_s": [0.5, 1.5], "prompt": "무엇이 보이나요?", "answer": "해안"},
]


@pytest.mark.parametrize("timestamps", [False, True])
@pytest.mark.parametrize(
    "tokenizer", [qwen_tokenizer(), qwen_tokenizer(hybrid=True), vicuna_tokenizer()], ids=["qwen", "hybrid", "vicuna"]
)
def test_labels_are_exactly_the_answer_and_the_end(tokenizer, timestamps):
    _, processor = small_pair(tokenizer=tokenizer, frame_timestamps=timestamps)
    batch = CaptionCollator(processor)(CLIPS)
    labels, ids = batch["labels"], batch["input_ids"]
    for row, clip in enumerate(CLIPS):
        learned = labels[row] != IGNORED
        assert torch.equal(labels[row][learned], ids[row][learned])
        assert processor.tokenizer.decode(labels[row][learned]).strip() == clip["answer"] + tokenizer.eos_token
        assert not (learned & ~batch["attention_mask"][row].bool()).any()
        assert learned.nonzero().flatten().diff().unique().tolist() in ([1], [])  # one unbroken span
    assert not torch.isin(labels, torch.tensor([processor.video_token_id, processor.image_token_id])).any()
    assert "assistant_masks" not in batch and batch["pixel_values_videos_mask"].sum(1).tolist() == [3, 2]
    assert set(batch) - {"labels"} <= set(processor.model_input_names)


def test_training_sees_the_prompt_that_inference_writes():
    _, processor = small_pair(tokenizer=qwen_tokenizer(hybrid=True))
    clip = CLIPS[0]
    batch = CaptionCollator(processor)([clip])
    content = [{"type": "video", "video": clip["frames"]}, {"type": "text", "text": clip["prompt"]}]
    prompt = processor.apply_chat_template(
        [{"role": "user", "content": content}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )["input_ids"][0]
    first = int((batch["labels"][0] != IGNORED).nonzero()[0])
    assert torch.equal(batch["input_ids"][0, :first], prompt)


def test_loss_is_the_cross_entropy_of_the_answer():
    model, processor = small_pair()
    batch = CaptionCollator(processor)(CLIPS)
    with torch.no_grad():
        outputs = model(**batch)
    log_probabilities = outputs.logits[:, :-1].log_softmax(-1)
    targets = batch["labels"][:, 1:]
    learned = targets != IGNORED
    by_hand = -log_probabilities[learned].gather(1, targets[learned][:, None]).mean()
    torch.testing.assert_close(outputs.loss, by_hand)


def test_all_frames_given_are_seen():
    _, processor = small_pair(num_frames=2)
    clip = CLIPS[0] | {"frames": frames_array(7), "times_s": [float(second) for second in range(7)]}
    assert CaptionCollator(processor)([clip])["pixel_values_videos"].shape[:2] == (1, 7)
