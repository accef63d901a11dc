"""What holds on the CPU holds on a GPU: the same properties, on the device."""

import queue

import pytest
import torch
from accelerate.utils.memory import should_reduce_batch_size

from serving.continuous_batching import ContinuousBatcher
from serving.token_sampling import TokenSampling
from tests.small_models import TEXTS, TOWERS, prompt_batch, small_model
from training.adapters import add_adapter, quantization_config
from training.peak_memory import peak_memory_bytes, reset_peak_memory
from training.run_settings import CHECKPOINTING
from training.trainer import answer_length

ROWS = [[3, ("video", 3), 4], [("video", 2), 2]]


def on(device: torch.device, batch: dict, dtype: torch.dtype = torch.float32) -> dict:
    return {name: value.to(device, dtype if value.is_floating_point() else None) for name, value in batch.items()}


@pytest.fixture(autouse=True)
def exact():
    """No TF32, which is a choice of speed over the digits that are compared here."""
    kept = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = kept


@pytest.mark.parametrize("tower", TOWERS)
@pytest.mark.parametrize("text", TEXTS)
def test_logits_are_the_cpus(device, tower, text):
    model = small_model(tower, text, motion=True)
    batch = prompt_batch(model, ROWS)
    with torch.no_grad():
        expected = model(**batch).logits
        found = model.to(device)(**on(device, batch)).logits.cpu()
    real = batch["attention_mask"].bool()
    torch.testing.assert_close(found[real], expected[real], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("cache", ["dynamic", "static"])
def test_tokens_are_the_cpus(device, cache):
    model = small_model("siglip")
    batch = prompt_batch(model, ROWS)
    options = {"do_sample": False, "max_new_tokens": 12, "min_new_tokens": 12}
    expected = model.generate(**batch, **options)
    chosen = {} if cache == "dynamic" else {"cache_implementation": cache, "disable_compile": True}
    found = model.to(device).generate(**on(device, batch), **options, **chosen)
    assert found.tolist() == expected.tolist()


def test_one_prompt_says_what_it_says_in_a_batch(device):
    model = small_model("clip").to(device)
    options = {"do_sample": False, "max_new_tokens": 8, "min_new_tokens": 8}
    together = model.generate(**on(device, prompt_batch(model, ROWS)), **options)[:, -8:]
    generator = prompt_batch(model, ROWS)  # the same random words and frames, row by row
    for row, frames in enumerate((3, 2)):
        mask = generator["attention_mask"][row].bool()
        alone = {
            "input_ids": generator["input_ids"][row][mask][None],
            "pixel_values_videos": generator["pixel_values_videos"][row : row + 1, :frames],
        }
        assert model.generate(**on(device, alone), **options)[0, -8:].tolist() == together[row].tolist()


def test_continuous_batching_says_what_generate_says(device):
    model = small_model("siglip").to(device)
    prompts = [prompt_batch(model, [row]) for row in ROWS]
    expected = [
        model.generate(**on(device, prompt), do_sample=False, max_new_tokens=8, min_new_tokens=8)[0, -8:].tolist()
        for prompt in prompts
    ]
    finished: queue.SimpleQueue = queue.SimpleQueue()
    batcher = ContinuousBatcher(
        model,
        deliver=lambda name, tokens, is_last: finished.put((name, tokens)) if is_last else None,
        fail=lambda names, ends: finished.put((names, None)),
        slots=2,
        max_context=64,
    )
    for number, prompt in enumerate(prompts):
        batcher.add(str(number), prompt, max_new_tokens=8, sampling=TokenSampling())
    try:
        outcome = dict(finished.get(timeout=60) for _ in prompts)
    finally:
        batcher.close()
    assert [outcome["0"], outcome["1"]] == expected


@pytest.mark.parametrize("kind", ["lora", "dora", "qlora", "qdora", "wavelet", "full"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_step_in_half_precision_moves_what_it_should(device, kind, dtype, tmp_path):
    if dtype == torch.float16 and device.type == "cpu":
        pytest.skip("only a GPU scales gradients of float16")
    small_model("siglip").save_pretrained(tmp_path)
    model = type(small_model("siglip")).from_pretrained(
        tmp_path,
        dtype=dtype,
        quantization_config=quantization_config(kind, dtype),
        device_map={"": device},
    )
    getattr(model.model.language_model, f"{CHECKPOINTING}_enable")({"use_reentrant": False})
    trained = add_adapter(model, kind, rank=4).train()
    moving = {name: weight for name, weight in trained.named_parameters() if weight.requires_grad}
    for weight in moving.values():
        weight.data = weight.data.float()
    batch = on(device, prompt_batch(model, ROWS))
    labels = batch["input_ids"].masked_fill(batch["input_ids"] >= 120, -100)
    before = {name: weight.detach().clone() for name, weight in trained.named_parameters()}
    optimizer = torch.optim.SGD(moving.values(), lr=0.5)
    scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16, init_scale=64.0)
    for _ in range(2):  # LoRA's A stands still while B is zero
        with torch.autocast(device.type, dtype):
            loss = trained(**batch, labels=labels, logits_to_keep=answer_length(labels), use_cache=False).loss
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
    assert torch.isfinite(loss)
    moved = {name for name, weight in trained.named_parameters() if not torch.equal(before[name], weight)}
    assert moved and moved <= set(moving)
    assert trained.generate(**batch, do_sample=False, max_new_tokens=4, min_new_tokens=4).shape[1] > 4


def test_out_of_memory_is_known_for_what_it_is(gpu):
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**46, device=gpu)
    assert should_reduce_batch_size(caught.value)


def test_the_peak_is_the_peak(gpu):
    torch.cuda.empty_cache()
    reset_peak_memory()
    before = peak_memory_bytes()
    kept = torch.empty(2**26, device=gpu, dtype=torch.uint8)
    del kept
    assert peak_memory_bytes() - before >= 2**26
