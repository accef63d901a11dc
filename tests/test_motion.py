"""`motion=True`: video tokens that know what changed at their place, and nothing else changed."""

import json

import pytest
import torch
from small_models import prompt_batch, random_frames, small_config, small_model, text_config
from transformers import AutoConfig, AutoModel, BitsAndBytesConfig

from modeling.modeling_kocap import KoCapForConditionalGeneration, KoCapModel

VIDEO, IMAGE = [2, ("video", 3), 3], [1, "image", 2]
CLOSE = {"rtol": 1e-4, "atol": 1e-4}  # float32, different order of summation


@torch.no_grad()
def last_logits(model, inputs) -> torch.Tensor:
    return model(**inputs).logits[:, -1]


def test_a_frame_s_tokens_depend_on_the_frames_before_it():
    frames = random_frames(1, 2)
    other_start = torch.cat([random_frames(1, 1, seed=9), frames[:, 1:]], dim=1)
    for motion in (False, True):
        model = small_model(motion=motion)
        with torch.no_grad():
            first, second = (
                model.get_video_features(clip).pooler_output.unflatten(1, (2, -1))[:, 1]
                for clip in (frames, other_start)
            )
        assert ((first - second).abs().max() > 1e-3) == motion


def test_it_begins_as_nothing(tmp_path):
    model = small_model(motion=True)
    torch.nn.init.zeros_(model.model.motion.change.weight)
    inputs = prompt_batch(model, [VIDEO])
    plain = small_model()
    plain.load_state_dict({k: v for k, v in model.state_dict().items() if "motion" not in k})
    assert last_logits(model, inputs).equal(last_logits(plain, inputs))
    fresh = KoCapForConditionalGeneration(small_config(motion=True))
    assert not fresh.model.motion.change.weight.any()
    small_model().save_pretrained(tmp_path)
    added = AutoModel.from_pretrained(tmp_path, motion=True)
    assert not added.model.motion.change.weight.any()


def test_a_padded_clip_gives_what_it_gives_alone():
    model = small_model(motion=True)
    lengths = [1, 3, 2]
    batch = prompt_batch(model, [[1, ("video", length), 2] for length in lengths])
    assert batch["pixel_values_videos_mask"].sum(1).tolist() == lengths
    batch["pixel_values_videos"][~batch["pixel_values_videos_mask"]] = 99.0  # padding frames must not matter
    together = last_logits(model, batch)
    for row, length in enumerate(lengths):
        real = batch["attention_mask"][row].bool()
        alone = {
            "input_ids": batch["input_ids"][row : row + 1, real],
            "pixel_values_videos": batch["pixel_values_videos"][row : row + 1, :length],
        }
        torch.testing.assert_close(last_logits(model, alone)[0], together[row], **CLOSE)


def test_images_have_no_motion():
    model = small_model(motion=True)
    image, video = (prompt_batch(model, [row]) for row in (IMAGE, VIDEO))
    before = last_logits(model, image), last_logits(model, video)
    with torch.no_grad():
        for parameter in model.model.motion.parameters():
            torch.nn.init.normal_(parameter)
    assert last_logits(model, image).equal(before[0])
    assert (last_logits(model, video) - before[1]).abs().max() > 1e-2


@pytest.mark.parametrize("rows", [[VIDEO], [VIDEO, [1, ("video", 1), 1]]], ids=["one clip", "padded"])
def test_precomputed_features_stand_in_for_pixels(rows):
    model = small_model(motion=True)
    inputs = prompt_batch(model, rows)
    cached = dict(inputs)
    videos = cached.pop("pixel_values_videos")
    with torch.no_grad():
        cached["video_features"] = model.model.encode_frames(videos.flatten(0, 1)).unflatten(0, videos.shape[:2])
    torch.testing.assert_close(last_logits(model, cached), last_logits(model, inputs), **CLOSE)


def test_the_loss_reaches_every_weight_of_motion():
    model = small_model(motion=True)
    inputs = prompt_batch(model, [VIDEO])
    model(**inputs, labels=inputs["input_ids"]).loss.backward()
    gradients = {name: parameter.grad for name, parameter in model.model.motion.named_parameters()}
    assert gradients
    assert all(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients.values())


@pytest.mark.parametrize("model_class", [KoCapForConditionalGeneration, KoCapModel])
def test_4bit_leaves_motion_alone(model_class, tmp_path):
    import bitsandbytes as bnb

    # bitsandbytes' CPU kernels want whole blocks: 64 columns in, 32 rows out.
    wide = text_config(hidden_size=64, intermediate_size=128, num_key_value_heads=2, head_dim=32)
    KoCapForConditionalGeneration(small_config(text_config=wide, motion=True)).save_pretrained(tmp_path)
    config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=torch.float32)
    model = model_class.from_pretrained(tmp_path, quantization_config=config)
    quantised = {name for name, module in model.named_modules() if isinstance(module, bnb.nn.Linear4bit)}
    assert len(quantised) == 2 * 7 and all("language_model.layers" in name for name in quantised)


def test_a_config_from_before_motion_has_none(tmp_path):
    small_config().save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    fields = json.loads(path.read_text())
    fields.pop("motion", None)
    path.write_text(json.dumps(fields))
    assert AutoConfig.from_pretrained(tmp_path).motion is False


def test_saving_and_loading_keeps_motion(tmp_path):
    model = small_model(motion=True)
    inputs = prompt_batch(model, [VIDEO])
    model.save_pretrained(tmp_path)
    assert AutoConfig.from_pretrained(tmp_path).motion is True
    loaded, info = AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    torch.testing.assert_close(last_logits(loaded, inputs), last_logits(model, inputs))
