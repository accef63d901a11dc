"""KoCapConfig: what it accepts, what it refuses and how, and that a file gives back what went in."""

import json

import pytest
from huggingface_hub.errors import StrictDataclassFieldValidationError
from small_models import TEXTS, TOWERS, small_config, small_model
from transformers import AutoConfig, AutoModel, CLIPConfig, Siglip2VisionConfig

from configuration.configuration_kocap import KoCapConfig
from modeling.modeling_kocap import KoCapForConditionalGeneration


def test_defaults_are_a_siglip_without_head_and_a_qwen3():
    config = KoCapConfig()
    assert (config.vision_config.model_type, config.text_config.model_type) == ("siglip_vision_model", "qwen3")
    assert config.vision_config.vision_use_head is False  # vLLM refuses the head on the CPU
    assert (config.image_token_id, config.video_token_id) == (151655, 151656)  # Qwen3's own


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("tower", TOWERS)
def test_files_and_dicts_give_back_the_same_config(tower, text, tmp_path):
    config = small_config(
        tower, text, tie=True, projector_type="linear", spatial_pool_stride=1, vision_feature_layer=-2
    )
    config.save_pretrained(tmp_path)
    again = AutoConfig.from_pretrained(tmp_path)
    for other in (again, KoCapConfig.from_dict(config.to_dict()), KoCapConfig(**json.loads(config.to_json_string()))):
        other._name_or_path = ""  # where it was loaded from
        assert type(other) is KoCapConfig and other.to_dict() == config.to_dict()
        assert type(other.vision_config) is type(config.vision_config)
        assert other.tie_word_embeddings and other.text_config.tie_word_embeddings
        assert other.vision_hidden_size == config.vision_hidden_size


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"spatial_pool_stride": 0}, r"spatial_pool_stride is 0; it must be >= 1"),
        (
            {"vision_feature_select_strategy": "full"},
            r"stride is 2 with .*'full'.* Use 'default', or",
        ),
        ({"image_token_id": 121}, r"both 121; they must differ"),
        ({"image_token_id": -1}, r"image_token_id is -1; it must be in \[0, 128\).* Pass the id"),
        ({"video_token_id": 128}, r"video_token_id is 128; it must be in \[0, 128\).* Pass the id"),
        ({"vision_feature_layer": 3}, r"vision_feature_layer is 3; .* \[-3, 2\]"),
        ({"vision_feature_layer": -4}, r"vision_feature_layer is -4; .* \[-3, 2\]"),
        ({"vision_config": {"model_type": "nope"}}, r"'nope' is unknown .* Upgrade transformers"),
        ({"vision_config": CLIPConfig()}, r"vision_config is clip, which has no hidden_size; .* `.vision_config`"),
        ({"vision_config": Siglip2VisionConfig()}, r"NaFlex.* Use a fixed-resolution SigLIP2"),
    ],
)
def test_errors_name_the_value_the_rule_and_the_way_out(kwargs, message):
    with pytest.raises(ValueError, match=message):
        small_config(**kwargs)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"spatial_pool_stride": 0}, r"spatial_pool_stride is 0; it must be >= 1"),
        ({"vision_feature_layer": 3}, r"vision_feature_layer is 3; .* \[-3, 2\]"),
        ({"text_config": {"vocab_size": 121}}, r"video_token_id is 121; it must be in \[0, 121\)"),
    ],
)
def test_overrides_while_loading_are_checked_too(overrides, message, tmp_path):
    model = small_model()
    model.save_pretrained(tmp_path)
    for auto_class in (AutoConfig, KoCapForConditionalGeneration, AutoModel):
        with pytest.raises(ValueError, match=message):
            auto_class.from_pretrained(tmp_path, **overrides)


def test_a_good_override_counts_and_ties_follow_the_text_model(tmp_path):
    small_config().save_pretrained(tmp_path)
    config = AutoConfig.from_pretrained(tmp_path, spatial_pool_stride=1, text_config={"tie_word_embeddings": True})
    assert config.spatial_pool_stride == 1 and config.tie_word_embeddings


def test_staged_encoders_have_a_width_per_stage():
    assert [small_config("convnext", vision_feature_layer=layer).vision_hidden_size for layer in (-1, -2, -3)] == [
        32,
        16,
        8,
    ]
    for layer in (0, -5):
        with pytest.raises(ValueError, match=rf"vision_feature_layer is {layer}; .* \[-4, -1\]"):
            small_config("convnext", vision_feature_layer=layer)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("projector_type", "qformer"),
        ("spatial_pool_mode", "mean"),
        ("vision_feature_select_strategy", "cls"),
        ("spatial_pool_stride", "2"),
        ("spatial_pool_stride", 2.0),
        ("vision_feature_layer", None),
        ("image_token_id", "<image>"),
        ("vision_config", "clip"),
        ("text_config", 3),
    ],
)
def test_wrong_types_are_refused_by_name(name, value):
    with pytest.raises(StrictDataclassFieldValidationError, match=name):
        small_config(**{name: value})
