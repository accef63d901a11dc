"""Which tokens of a tokenizer stand for vision, and which prompt its language model was taught."""

CAPTION_PROMPT = "이 영상을 한국어로 상세히 묘사해주세요."
SYSTEM_PROMPT = "당신은 비디오 캡셔닝 전문가입니다."

# Qwen's tokenizers own vision tokens; any other gets two placeholders of its own (LLaVA's names).
QWEN_TOKENS = {
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
    "vision_start_token": "<|vision_start|>",
    "vision_end_token": "<|vision_end|>",
}
PLAIN_TOKENS = {"image_token": "<image>", "video_token": "<video>", "vision_start_token": "", "vision_end_token": ""}
THOUGHT_TOKENS = ("<think>", "</think>")  # Qwen3's borders of a thought, which its tokenizer does not call special

# A message's text, with marks in place of its images and videos.
SPELL = """\
{%- macro spell(content) -%}
    {%- if content is string -%}{{- content -}}
    {%- else -%}
        {%- for part in content -%}{{- marks.get(part['type'], part['text']) -}}{%- endfor -%}
    {%- endif -%}
{%- endmacro -%}
"""

CHATML_TEMPLATE = (
    """\
{%- set marks = {'image': '<|vision_start|><|image_pad|><|vision_end|>',
                 'video': '<|vision_start|><|video_pad|><|vision_end|>'} -%}
"""
    + SPELL
    + """\
{%- if messages[0]['role'] != 'system' -%}
    {{- '<|im_start|>system\\n@SYSTEM@<|im_end|>\\n' -}}
{%- endif -%}
{%- for message in messages -%}
    {{- '<|im_start|>' + message['role'] + '\\n' -}}
    {%- if message['role'] == 'assistant' -%}
        {{- '@THINKING_OFF@' -}}
        {%- generation -%}{{- spell(message['content']) + '<|im_end|>' -}}{%- endgeneration -%}
        {{- '\\n' -}}
    {%- else -%}
        {{- spell(message['content']) + '<|im_end|>\\n' -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n@THINKING_OFF@' -}}{%- endif -%}
"""
)

VICUNA_TEMPLATE = (
    """\
{%- set marks = {'image': '<image>\\n', 'video': '<video>\\n'} -%}
"""
    + SPELL
    + """\
{{- bos_token -}}
{%- for message in messages -%}
    {%- if message['role'] == 'assistant' -%}
        {{- 'ASSISTANT: ' -}}
        {%- generation -%}{{- spell(message['content']) + eos_token -}}{%- endgeneration -%}
    {%- else -%}
        {{- 'USER: ' if message['role'] == 'user' else '' -}}{{- spell(message['content']) + ' ' -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- 'ASSISTANT:' -}}{%- endif -%}
"""
)


def vision_tokens(tokenizer) -> dict[str, str]:
    """The tokens that mark images and videos: `image_token`, `video_token`, `vision_start_token`, `vision_end_token`.

    Raises:
        ValueError: If the tokenizer has none of its own and none were added.
    """
    vocabulary = tokenizer.get_vocab()
    for tokens in (QWEN_TOKENS, PLAIN_TOKENS):
        if all(token in vocabulary for token in tokens.values() if token):
            return dict(tokens)
    raise ValueError(
        "the tokenizer has no vision tokens: neither <|video_pad|> and its kin (Qwen) nor <image> and <video>."
        " Add them with add_vision_tokens(tokenizer), and resize the model's embeddings."
    )


def add_vision_tokens(tokenizer) -> dict[str, str]:
    """`vision_tokens(tokenizer)`, adding `<image>` and `<video>` first where the tokenizer has none of its own."""
    try:
        return vision_tokens(tokenizer)
    except ValueError:
        tokens = [token for token in PLAIN_TOKENS.values() if token]
        tokenizer.add_special_tokens({"additional_special_tokens": tokens}, replace_extra_special_tokens=False)
        return dict(PLAIN_TOKENS)


def captioning_template(tokenizer) -> str:
    """The chat template: ChatML where the tokenizer has its tokens, Vicuna's `USER: ... ASSISTANT:` elsewhere.

    Hybrid models (Qwen3-8B) think unless an empty thought stands before the answer; their own template says so by
    having an `enable_thinking` switch. Models without the switch (Qwen3-*-Instruct-2507) get no such block.
    """
    if "<|im_start|>" not in tokenizer.get_vocab():
        return VICUNA_TEMPLATE
    is_hybrid = "enable_thinking" in (tokenizer.chat_template or "")
    thinking_off = "\\n\\n".join([*THOUGHT_TOKENS, ""]) if is_hybrid else ""
    return CHATML_TEMPLATE.replace("@SYSTEM@", SYSTEM_PROMPT).replace("@THINKING_OFF@", thinking_off)
