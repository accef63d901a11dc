"""Registers KoCap with transformers' Auto classes and pipelines: what loads a checkpoint by them imports this first.

    import modeling.auto_classes  # noqa: F401

Not in the rooms' `__init__.py`, which would make every light module of a room wait for torch and transformers.
"""

from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText, AutoProcessor, AutoVideoProcessor
from transformers.pipelines import PIPELINE_REGISTRY

from configuration.configuration_kocap import KoCapConfig
from processing.pipeline_kocap import KoCapPipeline
from processing.processing_kocap import KoCapProcessor
from processing.video_processing_kocap import KoCapVideoProcessor

from .modeling_kocap import KoCapForConditionalGeneration

AutoConfig.register("kocap", KoCapConfig)
AutoProcessor.register(KoCapConfig, KoCapProcessor)
AutoVideoProcessor.register(KoCapConfig, KoCapVideoProcessor)
AutoModel.register(KoCapConfig, KoCapForConditionalGeneration)
AutoModelForImageTextToText.register(KoCapConfig, KoCapForConditionalGeneration)
PIPELINE_REGISTRY.register_pipeline(
    "video-text-to-text",
    pipeline_class=KoCapPipeline,
    pt_model=AutoModelForImageTextToText,
    type="multimodal",
)
