"""What a model is."""

from transformers import AutoConfig

from .configuration_kocap import KoCapConfig

AutoConfig.register("kocap", KoCapConfig)
