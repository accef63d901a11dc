"""Video file to tensors."""

from transformers import AutoModelForImageTextToText, AutoProcessor, AutoVideoProcessor
from transformers.pipelines import PIPELINE_REGISTRY

import configuration  # noqa: F401  registers KoCapConfig
from configuration.configuration_kocap import KoCapConfig

from .pipeline_kocap import KoCapPipeline
from .processing_kocap import KoCapProcessor
from .video_processing_kocap import KoCapVideoProcessor

AutoProcessor.register(KoCapConfig, KoCapProcessor)
AutoVideoProcessor.register(KoCapConfig, KoCapVideoProcessor)
PIPELINE_REGISTRY.register_pipeline(
    "video-text-to-text",
    pipeline_class=KoCapPipeline,
    pt_model=AutoModelForImageTextToText,
    type="multimodal",
)
