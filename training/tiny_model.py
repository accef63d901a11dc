"""The embedded demonstration model, from nothing: a tokenizer of its own, a small SigLIP, a small Qwen3."""

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen3Config, SiglipImageProcessor, SiglipVisionConfig

from configuration.configuration_kocap import KoCapConfig
from modeling.modeling_kocap import KoCapForConditionalGeneration
from processing.processing_kocap import KoCapProcessor
from processing.video_processing_kocap import KoCapVideoProcessor
from processing.vision_tokens_kocap import QWEN_TOKENS, captioning_template

VOCAB_SIZE = 2048
SPECIAL_TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *QWEN_TOKENS.values()]
# Qwen2's split: letters with one leading character, single digits, punctuation, white space.
WORD_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def train_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Byte-level BPE learned from `texts`, with Qwen3's special tokens: any text encodes, none is unknown."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORD_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=SPECIAL_TOKENS,
        model_max_length=4096,
    )


def build_tiny(
    tokenizer: PreTrainedTokenizerFast, *, image_size: int = 128, num_frames: int = 8
) -> tuple[KoCapForConditionalGeneration, KoCapProcessor]:
    """A random KoCap of a few million parameters and the processor that fits it.

    Head sizes are 32 and SigLIP's pooling head is off, because vLLM's CPU kernels want it so.
    """
    vision_config = SiglipVisionConfig(
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        image_size=image_size,
        patch_size=16,
        vision_use_head=False,
    )
    text_config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=192,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    config = KoCapConfig(
        vision_config=vision_config,
        text_config=text_config,
        motion=True,
        image_token_id=tokenizer.convert_tokens_to_ids(QWEN_TOKENS["image_token"]),
        video_token_id=tokenizer.convert_tokens_to_ids(QWEN_TOKENS["video_token"]),
    )
    model = KoCapForConditionalGeneration(config)
    model.generation_config.update(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, max_new_tokens=256
    )
    size = {"height": image_size, "width": image_size}
    processor = KoCapProcessor(
        image_processor=SiglipImageProcessor(size=size),
        tokenizer=tokenizer,
        video_processor=KoCapVideoProcessor(size=size, num_frames=num_frames),
        tokens_per_frame=model.model.count_frame_tokens(image_size),
        chat_template=captioning_template(tokenizer),
    )
    return model, processor
