"""Tensors to tokens."""

from transformers import AutoModel, AutoModelForImageTextToText

import configuration  # noqa: F401  registers KoCapConfig
from configuration.configuration_kocap import KoCapConfig

from .modeling_kocap import KoCapForConditionalGeneration

AutoModel.register(KoCapConfig, KoCapForConditionalGeneration)
AutoModelForImageTextToText.register(KoCapConfig, KoCapForConditionalGeneration)
