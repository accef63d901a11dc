"""KoCapModel and KoCapForConditionalGeneration: every tower and text model computes, trains, generates and reloads."""

import inspect
import itertools
from collections.abc import Iterator

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from small_models import (
    IMAGE_SIZE,
    IMAGE_TOKEN_ID,
    TEXTS,
    TOWERS,
    VIDEO_TOKEN_ID,
    WIDTH,
    prompt_batch,
    qwen_tokenizer,
    random_frames,
    small_config,
    small_model,
    text_config,
    vicuna_tokenizer,
)
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    BitsAndBytesConfig,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    DynamicCache,
    Qwen3ForCausalLM,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
)
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from modeling.modeling_kocap import KoCapForConditionalGeneration, KoCapModel
from modeling.projector_kocap import patch_grid, pool_grid, select_patches
from processing.processing_kocap import KoCapProcessor
from training.run_settings import CHECKPOINTING

VIDEO, IMAGE = [2, ("video", 2), 3], [1, "image", 2]
CLOSE = {"rtol": 1e-4, "atol": 1e-4}  # float32, different order of summation
# One row and one column of the matrix by default; the rest is as slow as it is similar.
COMBINATIONS = [
    pytest.param(tower, text, marks=[] if tower == "siglip" or text == "qwen3" else pytest.mark.slow)
    for tower, text in itertools.product(TOWERS, TEXTS)
]


def generate(model, inputs, **kwargs) -> list[list[int]]:
    """Greedy tokens; a random model must not write placeholders."""
    options = {"max_new_tokens": 4, "do_sample": False, "suppress_tokens": [IMAGE_TOKEN_ID, VIDEO_TOKEN_ID]}
    return model.generate(**inputs, **(options | kwargs))[:, inputs["input_ids"].shape[1] :].tolist()


@torch.no_grad()
def last_logits(model, inputs) -> torch.Tensor:
    return model(**inputs).logits[:, -1]


def gradients(model, inputs) -> dict[str, torch.Tensor]:
    model.zero_grad()
    model(**inputs, labels=inputs["input_ids"]).loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


# Every tower with every text model


@pytest.mark.parametrize(("tower", "text"), COMBINATIONS)
def test_trains_and_generates(tower, text):
    model = small_model(tower, text)
    inputs = prompt_batch(model, [VIDEO, IMAGE, [4]])
    loss = model(**inputs, labels=inputs["input_ids"]).loss
    assert torch.isfinite(loss)
    loss.backward()
    for part in (
        model.model.vision_tower,
        model.model.multi_modal_projector,
        model.model.language_model,
        model.lm_head,
    ):
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in part.parameters())
    assert generate(model, inputs) == generate(model, inputs, use_cache=False)


@pytest.mark.parametrize(("tower", "text"), COMBINATIONS)
def test_a_batch_gives_what_each_prompt_gives_alone(tower, text):
    model = small_model(tower, text)
    batch = prompt_batch(model, [VIDEO, IMAGE, [4]])
    pixels = {"pixel_values_videos": [0], "pixel_values": [1]}
    for row in range(3):
        real = batch["attention_mask"][row].bool()
        alone = {"input_ids": batch["input_ids"][row : row + 1, real], "attention_mask": real[real][None].long()}
        alone |= {name: batch[name] for name, rows in pixels.items() if row in rows}
        torch.testing.assert_close(last_logits(model, alone)[0], last_logits(model, batch)[row], **CLOSE)
        assert generate(model, alone)[0] == generate(model, batch)[row]


@pytest.mark.parametrize("tower", TOWERS)
def test_features_match_placeholders_and_every_frame_counts(tower):
    model = small_model(tower)
    inputs = prompt_batch(model, [VIDEO])
    features = model.get_video_features(inputs["pixel_values_videos"]).pooler_output
    per_frame = model.model.count_frame_tokens(IMAGE_SIZE)
    assert features.shape == (1, 2 * per_frame, WIDTH["hidden_size"])
    before = last_logits(model, inputs)
    for frame in range(2):
        changed = inputs | {"pixel_values_videos": inputs["pixel_values_videos"].clone()}
        changed["pixel_values_videos"][0, frame] = random_frames(1, seed=9)
        assert (last_logits(model, changed) - before).abs().max() > 1e-2


@pytest.mark.parametrize("layer", [-1, -2])
@pytest.mark.parametrize("tower", TOWERS)
def test_default_selection_drops_everything_but_patches(tower, layer):
    model = small_model(tower, vision_feature_layer=layer, spatial_pool_stride=1)
    patches = {-1: 4, -2: 16} if "convnext" in tower else {-1: 16, -2: 16}  # strides 32 and 16, or patches of 16
    assert model.model.encode_frames(random_frames(2)).shape[:2] == (2, patches[layer])
    inputs = prompt_batch(model, [VIDEO])
    assert torch.isfinite(last_logits(model, inputs)).all()


@pytest.mark.parametrize(
    ("tower", "extra"), [("clip", 1), ("siglip", 0), ("dinov2_with_registers", 5), ("dinov3_vit", 5)]
)
def test_full_selection_keeps_class_and_register_tokens(tower, extra):
    model = small_model(tower, vision_feature_select_strategy="full", spatial_pool_stride=1)
    assert model.model.encode_frames(random_frames(2)).shape[1] == 16 + extra


def test_layer_minus_two_is_the_tower_s_layer_before_the_last():
    model = small_model("clip", vision_feature_layer=-2, spatial_pool_stride=1)
    frames = random_frames(1)
    hidden_states = model.model.vision_tower(frames, output_hidden_states=True).hidden_states
    torch.testing.assert_close(model.model.encode_frames(frames), hidden_states[-2][:, 1:])


# Pooling


@pytest.mark.parametrize("mode", ["average", "max", "bilinear"])
@pytest.mark.parametrize(("grid", "tokens"), [((4, 4), 4), ((27, 27), 14 * 14), ((5, 3), 6)])
def test_pooling_halves_each_side_and_rounds_up(mode, grid, tokens):
    features = torch.randn(2, grid[0] * grid[1], 8)
    pooled = pool_grid(features, grid, stride=2, mode=mode)
    assert pooled.shape == (2, tokens, 8)
    constant = pool_grid(torch.ones_like(features), grid, stride=2, mode=mode)
    torch.testing.assert_close(constant, torch.ones_like(constant))  # edges are not mixed with padding


def test_average_pooling_is_the_mean_of_each_window_in_reading_order():
    grid = torch.arange(16.0).reshape(1, 16, 1)
    assert pool_grid(grid, (4, 4), stride=2, mode="average").flatten().tolist() == [2.5, 4.5, 10.5, 12.5]
    assert pool_grid(grid, (4, 4), stride=2, mode="max").flatten().tolist() == [5, 7, 13, 15]


def test_the_grid_is_the_patches_or_a_square():
    assert patch_grid(torch.empty(1, 12, 8), torch.empty(1, 3, 48, 64), 16) == (3, 4)
    assert patch_grid(torch.empty(1, 50, 8), torch.empty(1, 3, 224, 224), None) == (7, 7)  # a pooled token before 49
    with pytest.raises(ValueError, match=r"15 tokens for a 4x4 grid of 16 patches.*patch_size"):
        select_patches(torch.empty(1, 15, 8), (4, 4))


@pytest.mark.parametrize("mode", ["average", "max", "bilinear"])
def test_pool_modes_run_in_the_model(mode):
    model = small_model(spatial_pool_mode=mode, spatial_pool_stride=3)
    assert model.model.count_frame_tokens(IMAGE_SIZE) == 4  # ceil(4 / 3) squared
    assert torch.isfinite(last_logits(model, prompt_batch(model, [VIDEO]))).all()


# What goes where


def test_two_videos_in_one_prompt_stand_in_reading_order():
    model = small_model()
    inputs = prompt_batch(model, [[1, ("video", 2), 2, ("video", 2), 1]])
    embeds = model.get_input_embeddings()(inputs["input_ids"]).clone()
    features = model.get_video_features(inputs["pixel_values_videos"]).pooler_output
    embeds[inputs["input_ids"] == VIDEO_TOKEN_ID] = torch.cat([features[0], features[1]])
    by_hand = {"inputs_embeds": embeds, "attention_mask": inputs["attention_mask"]}
    torch.testing.assert_close(last_logits(model, inputs), last_logits(model, by_hand), **CLOSE)
    swapped = inputs | {"pixel_values_videos": inputs["pixel_values_videos"].flip(0)}
    assert (last_logits(model, inputs) - last_logits(model, swapped)).abs().max() > 1e-2


def test_clips_of_different_length_give_what_each_gives_alone():
    model = small_model()
    rows = [[1, ("video", 1), 2], [2, ("video", 3), 1], [1, ("video", 2), 1]]
    batch = prompt_batch(model, rows)
    assert batch["pixel_values_videos_mask"].sum(1).tolist() == [1, 3, 2]
    noisy = batch | {"pixel_values_videos": batch["pixel_values_videos"].clone()}
    noisy["pixel_values_videos"][~batch["pixel_values_videos_mask"]] = 99.0  # padding frames must not matter
    torch.testing.assert_close(last_logits(model, noisy), last_logits(model, batch))
    for row, length in enumerate([1, 3, 2]):
        real = batch["attention_mask"][row].bool()
        alone = {
            "input_ids": batch["input_ids"][row : row + 1, real],
            "pixel_values_videos": batch["pixel_values_videos"][row : row + 1, :length],
        }
        torch.testing.assert_close(last_logits(model, alone)[0], last_logits(model, batch)[row], **CLOSE)
        assert generate(model, alone)[0] == generate(model, batch)[row]


@pytest.mark.parametrize("rows", [[[2, ("video", 2), 1, "image", 1]], [["image", 1, "image", 1], [3]], [[5], [3]]])
def test_images_videos_and_text_mix(rows):
    model = small_model()
    inputs = prompt_batch(model, rows)
    assert torch.isfinite(model(**inputs, labels=inputs["input_ids"]).loss)
    assert generate(model, inputs) == generate(model, inputs, use_cache=False)


def test_precomputed_features_stand_in_for_pixels():
    model = small_model()
    inputs = prompt_batch(model, [VIDEO, IMAGE, [1, ("video", 1), 1]])
    videos, images = inputs["pixel_values_videos"], inputs["pixel_values"]
    cached = {name: value for name, value in inputs.items() if name not in ("pixel_values_videos", "pixel_values")}
    with torch.no_grad():
        cached["video_features"] = model.model.encode_frames(videos.flatten(0, 1)).unflatten(0, videos.shape[:2])
        cached["image_features"] = model.model.encode_frames(images)
    torch.testing.assert_close(last_logits(model, cached), last_logits(model, inputs), **CLOSE)
    assert generate(model, cached) == generate(model, inputs)
    assert generate(model, cached, num_beams=2) == generate(model, inputs, num_beams=2)
    same = model.get_video_features(video_features=cached["video_features"]).pooler_output
    torch.testing.assert_close(same, model.get_video_features(videos).pooler_output, **CLOSE)
    model.get_image_features(image_features=cached["image_features"])
    with pytest.raises(ValueError, match="video_features stands in place of pixel values"):
        model(**inputs, video_features=cached["video_features"])


def test_features_have_the_shapes_vllm_reads():
    model = small_model()
    images = model.get_image_features(random_frames(3))
    assert images.pooler_output.shape == (3, 4, 32) and images.last_hidden_state.shape == (3, 4, 32)
    assert model.get_video_features(random_frames(2, 3)).pooler_output.shape == (2, 12, 32)
    ragged = model.get_video_features(
        random_frames(2, 3), pixel_values_videos_mask=torch.tensor([[1, 1, 1], [1, 0, 0]])
    )
    assert [clip.shape for clip in ragged.pooler_output] == [(12, 32), (4, 32)]


@pytest.mark.parametrize(("modality", "rows"), [("video", [VIDEO]), ("image", [IMAGE])])
def test_placeholder_mismatch_names_both_numbers(modality, rows):
    model = small_model()
    inputs = prompt_batch(model, rows)
    name = "pixel_values_videos" if modality == "video" else "pixel_values"
    written = {"video": 8, "image": 4}[modality]
    extra = inputs | {name: torch.cat([inputs[name], inputs[name]])}
    message = f"{written} {modality} placeholders but the {modality} inputs give {2 * written} features.*KoCapProcessor"
    with pytest.raises(ValueError, match=message):
        model(**extra)
    with pytest.raises(ValueError, match=f"{modality} placeholders"):
        generate(model, extra, num_beams=2)


def test_wrong_calls_are_refused():
    model = small_model()
    inputs = prompt_batch(model, [VIDEO])
    embeds = model.get_input_embeddings()(inputs["input_ids"])
    with pytest.raises(ValueError, match="exactly one of input_ids and inputs_embeds"):
        model(**inputs, inputs_embeds=embeds)
    with pytest.raises(ValueError, match="need input_ids"):
        model(inputs_embeds=embeds, pixel_values_videos=inputs["pixel_values_videos"])
    with pytest.raises(ValueError, match=r"shape \(2, 3, 64, 64\).*\[V, T, 3, H, W\]"):
        model(**(inputs | {"pixel_values_videos": inputs["pixel_values_videos"][0]}))


# Generation


@pytest.mark.parametrize("kwargs", [{"num_beams": 2}, {"num_beams": 4, "num_return_sequences": 2}])
@pytest.mark.parametrize(
    "rows",
    [[VIDEO, IMAGE, [4]], [[1, ("video", 2), 2, ("video", 1), 1], VIDEO], [["image", 1, "image", 2], IMAGE]],
    ids=["one each", "two videos", "two images"],
)
def test_beam_search_of_a_batch_is_beam_search_of_each(rows, kwargs):
    model = small_model()
    batch = prompt_batch(model, rows)
    beams = generate(model, batch, **kwargs)
    returned = kwargs.get("num_return_sequences", 1)
    assert len(beams) == returned * len(rows)
    first = {
        "pixel_values": sum(p == "image" for p in rows[0]),
        "pixel_values_videos": sum(type(p) is tuple for p in rows[0]),
    }
    real = batch["attention_mask"][0].bool()
    alone = {"input_ids": batch["input_ids"][:1, real]}
    alone |= {name: batch[name][:count] for name, count in first.items() if count}
    if "pixel_values_videos_mask" in batch:
        alone["pixel_values_videos_mask"] = batch["pixel_values_videos_mask"][: first["pixel_values_videos"]]
    assert beams[:returned] == generate(model, alone, **kwargs)
    assert generate(model, alone, **kwargs, use_cache=False) == beams[:returned]


def test_every_returned_sequence_sees_its_own_videos_in_order():
    model = small_model()
    inputs = prompt_batch(model, [[1, ("video", 2), 2, ("video", 2), 1], [2, ("video", 2)]])
    greedy = generate(model, inputs)
    # With one candidate left, sampling is greedy: so every copy of a prompt must give the prompt's own tokens.
    samples = generate(model, inputs, do_sample=True, top_k=1, num_return_sequences=3)
    assert samples == [greedy[0]] * 3 + [greedy[1]] * 3


def test_sampling_several_captions_runs():
    model = small_model()
    torch.manual_seed(0)
    samples = generate(
        model, prompt_batch(model, [VIDEO, [3]]), do_sample=True, num_return_sequences=2, temperature=2.0
    )
    assert len(samples) == 4 and samples[0] != samples[1]


@pytest.mark.parametrize("kwargs", [{"cache_implementation": "static"}, {"prompt_lookup_num_tokens": 2}])
def test_other_decoders_give_the_greedy_tokens(kwargs):
    model = small_model()
    inputs = prompt_batch(model, [VIDEO])
    inputs["input_ids"] = torch.cat([inputs["input_ids"], inputs["input_ids"][:, -3:]], dim=1)  # something to look up
    inputs.pop("attention_mask")
    assert generate(model, inputs, max_new_tokens=8, **kwargs) == generate(model, inputs, max_new_tokens=8)


def test_logits_to_keep():
    model = small_model()
    inputs = prompt_batch(model, [VIDEO, [4]])
    with torch.no_grad():
        full = model(**inputs).logits
        torch.testing.assert_close(model(**inputs, logits_to_keep=1).logits, full[:, -1:])
        torch.testing.assert_close(model(**inputs, logits_to_keep=torch.tensor([2, 5])).logits, full[:, [2, 5]])


# Precision, attention, memory


def test_bfloat16():
    model = small_model().to(torch.bfloat16)
    inputs = prompt_batch(model, [VIDEO])
    assert model(**inputs).logits.dtype == torch.bfloat16  # float32 pixels are cast
    assert torch.isfinite(model(**inputs, labels=inputs["input_ids"]).loss)
    assert len(generate(model, inputs)[0]) == 4


@pytest.mark.parametrize(("tower", "text"), [("siglip", "qwen3"), ("clip", "llama"), ("dinov3_vit", "qwen2")])
def test_sdpa_equals_eager(tower, text):
    model = small_model(tower, text)
    inputs = prompt_batch(model, [VIDEO, [4]])
    assert model.config._attn_implementation == "sdpa"
    sdpa = last_logits(model, inputs)
    model.set_attn_implementation("eager")
    assert model.config.text_config._attn_implementation == model.config.vision_config._attn_implementation == "eager"
    torch.testing.assert_close(last_logits(model, inputs), sdpa, **CLOSE)


@pytest.mark.parametrize("tower", ["siglip", "dinov2"])
def test_gradient_checkpointing_changes_nothing(tower):
    model = small_model(tower).train()
    inputs = prompt_batch(model, [VIDEO, IMAGE])
    plain = gradients(model, inputs)
    getattr(model, f"{CHECKPOINTING}_enable")({"use_reentrant": False})
    parts = (model.model.vision_tower, model.model.language_model)
    assert all(getattr(part, f"is_{CHECKPOINTING}") for part in parts)
    checkpointed = gradients(model, inputs)
    assert plain.keys() == checkpointed.keys()
    for name, gradient in plain.items():
        torch.testing.assert_close(checkpointed[name], gradient, **CLOSE)


# Saving and loading


@pytest.mark.parametrize("tie", [False, True])
def test_save_and_load_keep_weights_ties_and_logits(tmp_path, tie):
    model = small_model(tie=tie)
    inputs = prompt_batch(model, [VIDEO, IMAGE])
    model.save_pretrained(tmp_path)
    for auto_class in (AutoModel, AutoModelForImageTextToText):
        loaded = auto_class.from_pretrained(tmp_path)
        assert isinstance(loaded, KoCapForConditionalGeneration)
        assert (loaded.lm_head.weight is loaded.get_input_embeddings().weight) == tie
        torch.testing.assert_close(last_logits(loaded, inputs), last_logits(model, inputs))
    loaded, info = AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    headless = KoCapModel.from_pretrained(tmp_path)
    torch.testing.assert_close(
        headless(**inputs).last_hidden_state, model.model(**inputs).last_hidden_state
    )  # vLLM and feature caches load it so


def test_device_map_auto_and_half_precision_load(tmp_path):
    model = small_model()
    model.save_pretrained(tmp_path)
    inputs = prompt_batch(model, [VIDEO])
    mapped = AutoModel.from_pretrained(tmp_path, device_map="auto")
    torch.testing.assert_close(last_logits(mapped, inputs), last_logits(model, inputs))
    assert generate(mapped, inputs) == generate(model, inputs)
    assert AutoModel.from_pretrained(tmp_path, dtype=torch.bfloat16).dtype == torch.bfloat16


@pytest.mark.parametrize("tie", [False, True])
def test_resizing_the_vocabulary(tmp_path, tie):
    model = small_model(tie=tie)
    inputs = prompt_batch(model, [VIDEO])
    before = last_logits(model, inputs)
    model.resize_token_embeddings(200)
    assert model.config.text_config.vocab_size == model.lm_head.out_features == 200
    assert (model.lm_head.weight is model.get_input_embeddings().weight) == tie
    torch.testing.assert_close(last_logits(model, inputs)[:, :128], before)
    assert torch.isfinite(model(**inputs, labels=inputs["input_ids"]).loss)
    model.save_pretrained(tmp_path)
    torch.testing.assert_close(last_logits(AutoModel.from_pretrained(tmp_path), inputs)[:, :128], before)


def lora(**kwargs) -> LoraConfig:
    linears = "q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj"
    return LoraConfig(r=4, lora_alpha=8, target_modules=rf".*language_model.*\.({linears})", **kwargs)


def test_lora_on_the_language_model_trains_saves_and_merges(tmp_path):
    model = get_peft_model(small_model(), lora())
    inputs = prompt_batch(model.base_model.model, [VIDEO, [4]])
    trainable = [name for name, p in model.named_parameters() if p.requires_grad]
    assert trainable and all("language_model" in name and "lora_" in name for name in trainable)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.5)
    losses = []
    for _ in range(4):
        loss = model(**inputs, labels=inputs["input_ids"]).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    tuned = last_logits(model, inputs)
    model.save_pretrained(tmp_path / "adapter")
    reloaded = PeftModel.from_pretrained(small_model(), tmp_path / "adapter").eval()
    torch.testing.assert_close(last_logits(reloaded, inputs), tuned)
    assert generate(reloaded, inputs) == generate(model, inputs)
    merged = reloaded.merge_and_unload()
    torch.testing.assert_close(last_logits(merged, inputs), tuned, **CLOSE)
    merged.save_pretrained(tmp_path / "merged")
    torch.testing.assert_close(last_logits(AutoModel.from_pretrained(tmp_path / "merged"), inputs), tuned, **CLOSE)


def test_4bit_quantises_the_language_model_only(tmp_path):
    import bitsandbytes as bnb

    # bitsandbytes' CPU kernels want whole blocks: 64 columns in, 32 rows out.
    wide = small_config(
        text_config=text_config(hidden_size=64, intermediate_size=128, num_key_value_heads=2, head_dim=32)
    )
    KoCapForConditionalGeneration(wide).save_pretrained(tmp_path)
    config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=torch.float32)
    model = AutoModel.from_pretrained(tmp_path, quantization_config=config).eval()
    quantised = {name for name, module in model.named_modules() if isinstance(module, bnb.nn.Linear4bit)}
    assert len(quantised) == 2 * 7 and all(name.startswith("model.language_model.layers") for name in quantised)
    assert config.llm_int8_skip_modules is None  # the caller's object stays the caller's
    inputs = prompt_batch(model, [VIDEO, [4]])
    assert len(generate(model, inputs)[0]) == 4
    trained = get_peft_model(model, lora())
    trained(**inputs, labels=inputs["input_ids"]).loss.backward()
    assert any(p.grad is not None for name, p in trained.named_parameters() if "lora_B" in name)


# Assembling from pretrained parts


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    """Folders of pretrained parts, as the Hub has them."""
    root = tmp_path_factory.mktemp("parts")
    torch.manual_seed(1)
    small_text = WIDTH | {"vocab_size": 64, "max_position_embeddings": 16}
    vision = small_config("siglip").vision_config.to_dict() | {"vision_use_head": True}
    CLIPModel(
        CLIPConfig(vision_config=small_config("clip").vision_config.to_dict(), text_config=small_text)
    ).save_pretrained(root / "clip")
    CLIPImageProcessor(size={"shortest_edge": 72}, crop_size={"height": 64, "width": 64}).save_pretrained(root / "clip")
    SiglipModel(SiglipConfig(vision_config=vision, text_config=small_text)).save_pretrained(root / "siglip")
    SiglipImageProcessor(size={"height": 64, "width": 64}).save_pretrained(root / "siglip")
    AutoModel.from_config(small_config("dinov2").vision_config).save_pretrained(root / "dinov2")
    CLIPImageProcessor(size={"shortest_edge": 72}, crop_size={"height": 64, "width": 64}).save_pretrained(
        root / "dinov2"
    )
    for name, text, tokenizer, tie in (
        ("qwen3", "qwen3", qwen_tokenizer(), True),
        ("llama", "llama", vicuna_tokenizer(), False),
    ):
        config = text_config(
            text, vocab_size=len(tokenizer), eos_token_id=tokenizer.eos_token_id, tie_word_embeddings=tie
        )
        AutoModelForCausalLM.from_config(config).save_pretrained(root / name)
        tokenizer.save_pretrained(root / name)
    return root


@pytest.mark.parametrize(("vision", "text"), [("clip", "qwen3"), ("siglip", "llama"), ("dinov2", "qwen3")])
def test_from_backbones_keeps_the_parts_weights(parts, tmp_path, vision, text):
    torch.manual_seed(2)
    model = KoCapForConditionalGeneration.from_backbones(str(parts / vision), str(parts / text))
    processor = KoCapProcessor.from_backbones(
        str(parts / vision),
        str(parts / text),
        tokens_per_frame=model.model.count_frame_tokens(IMAGE_SIZE),
        num_frames=2,
    )
    assert not model.training and not any(p.is_meta for p in model.parameters())
    whole = AutoModel.from_pretrained(parts / vision)
    tower = getattr(whole, "vision_model", whole)
    for name, weight in model.model.vision_tower.state_dict().items():
        torch.testing.assert_close(weight, tower.state_dict()[name.removeprefix("vision_model.")])
    language_model = AutoModelForCausalLM.from_pretrained(parts / text)
    ids = torch.arange(5, 12)[None]
    old = language_model.config.vocab_size
    torch.testing.assert_close(model(input_ids=ids).logits[..., :old], language_model(input_ids=ids).logits)
    assert (model.lm_head.weight is model.get_input_embeddings().weight) == (text == "qwen3")

    assert (
        model.config.video_token_id
        == processor.video_token_id
        == processor.tokenizer.convert_tokens_to_ids("<|video_pad|>" if text == "qwen3" else "<video>")
    )
    assert model.config.text_config.vocab_size >= len(processor.tokenizer)
    assert processor.video_processor.size["height"] == IMAGE_SIZE
    clip = torch.randint(0, 255, (2, 3, 48, 80), dtype=torch.uint8)
    chat = [
        {"role": "user", "content": [{"type": "video", "video": clip}, {"type": "text", "text": "무엇이 보이나요?"}]}
    ]
    inputs = processor.apply_chat_template(
        chat, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    assert torch.isfinite(model(**inputs, labels=inputs["input_ids"]).loss)

    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    loaded, info = AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
    torch.testing.assert_close(last_logits(loaded, inputs), last_logits(model, inputs))
    gradients(model.train(), inputs)


def test_from_backbones_takes_config_fields_and_dtype(parts):
    model = KoCapForConditionalGeneration.from_backbones(
        str(parts / "clip"),
        str(parts / "qwen3"),
        dtype=torch.bfloat16,
        projector_type="linear",
        vision_feature_layer=-2,
    )
    assert {p.dtype for p in model.parameters()} == {torch.bfloat16}
    assert len(model.model.multi_modal_projector) == 1 and model.config.vision_feature_layer == -2


@pytest.fixture(params=["vllm", "sglang"])
def engine(request) -> Iterator[str]:
    """The name by which an engine's attention is known; here it computes as transformers' own does."""
    ALL_ATTENTION_FUNCTIONS[request.param] = ALL_ATTENTION_FUNCTIONS["sdpa"]
    yield request.param
    del ALL_ATTENTION_FUNCTIONS[request.param]


def test_engines_get_the_model_without_a_head(engine):
    config = small_config()
    assert type(AutoModel.from_config(config)) is KoCapForConditionalGeneration
    assert type(AutoModel.from_config(config, attn_implementation=engine)) is KoCapModel  # as older SGLang asks
    config = small_config()
    config.text_config._attn_implementation = engine
    assert type(AutoModel.from_config(config)) is KoCapModel
    assert type(AutoModelForImageTextToText.from_config(config)) is KoCapModel


def test_an_engine_loads_a_checkpoint_and_computes_the_same(engine):
    """As the Transformers backends of vLLM and SGLang do: names without `model.`, the head apart."""
    model = small_model()
    inputs = prompt_batch(model, [[3, ("video", 2), 2]])
    del inputs["attention_mask"]  # engines keep track of lengths themselves
    config = small_config()
    config.text_config._attn_implementation = engine
    with torch.device("meta"):
        headless = AutoModel.from_config(config)
    assert headless._supports_attention_backend and headless.get_video_features and headless.get_image_features
    stored = {name.removeprefix("model."): weight for name, weight in model.state_dict().items()}
    head = stored.pop("lm_head.weight")
    headless = headless.to_empty(device="cpu")
    headless.load_state_dict(stored, strict=True)
    for name, buffer in model.model.named_buffers():  # those that no checkpoint holds
        headless.get_buffer(name).copy_(buffer)
    with torch.no_grad():
        expected = model(**inputs).logits
        hidden = headless.eval()(**inputs, use_cache=False).last_hidden_state
    torch.testing.assert_close(hidden @ head.T, expected)


@pytest.mark.parametrize("name", ["cache", "past_key_values", "assistant_model"])
def test_generate_takes_a_cache_and_an_assistant_as_transformers_own_models_do(name):
    model = small_model()
    if name == "cache" and "cache" not in inspect.signature(Qwen3ForCausalLM.forward).parameters:
        pytest.skip("from transformers 5.24 on")
    batch = prompt_batch(model, [[3, ("video", 2), 4]])
    options = {"do_sample": False, "max_new_tokens": 8, "min_new_tokens": 8}
    given = small_model() if name == "assistant_model" else DynamicCache(config=model.config.text_config)
    assert torch.equal(model.generate(**batch, **options, **{name: given}), model.generate(**batch, **options))
