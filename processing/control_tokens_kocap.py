"""What people write stays text: a control token that is typed into a message is spelled so that no tokenizer finds it.

Chats are rendered to one text before they are tokenised, and a tokenizer looks for its special tokens in all of it.
So a word joiner, which nobody sees, goes behind the first character of each one that a message holds. That works with
every tokenizer and engine, since all are handed a text; a message without control tokens is left as it is.
"""

import re
from collections.abc import Collection, Sequence
from typing import Any

from .vision_tokens_kocap import PLAIN_TOKENS, THOUGHT_TOKENS

WORD_JOINER = "\u2060"  # Unicode: prohibits a line break, and is invisible
MARKED = ("image", "video")  # parts of a message for which the template writes a mark, whatever else they hold


def control_tokens(tokenizer) -> set[str]:
    """What no message may hold: the tokenizer's special tokens, placeholders, and the borders of a thought.

    Other added tokens are not among them: some tokenizers add whole words of a language.
    """
    special = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
    special |= {*tokenizer.all_special_tokens, *PLAIN_TOKENS.values(), *THOUGHT_TOKENS}
    return {token for token in special if len(token.strip()) > 1}


def as_plain_text(text: str, tokens: Collection[str]) -> str:
    """The text with a word joiner inside each of the tokens; as it is where it holds none."""
    found = [re.escape(token) for token in tokens if token in text]
    return re.sub(f"(?={'|'.join(found)})(.)", rf"\1{WORD_JOINER}", text, flags=re.DOTALL) if found else text


def as_plain_chat(chat: Sequence[dict[str, Any]], tokens: Collection[str]) -> list[dict[str, Any]]:
    """A chat whose texts hold no control token, nor make one together; the caller's stays as it is."""
    return [{name: _as_plain(value, tokens) for name, value in message.items()} for message in chat]


def _as_plain(value: Any, tokens: Collection[str]) -> Any:
    if isinstance(value, str):
        return as_plain_text(value, tokens)
    return _as_plain_parts(value, tokens) if isinstance(value, list | tuple) else value


def _as_plain_parts(parts: Sequence[Any], tokens: Collection[str]) -> list[Any]:
    """Texts that stand side by side are written without anything in between, so a token may reach over several."""
    plain, before, longest = [], "", max(map(len, tokens))
    for part in parts:
        if isinstance(part, dict) and part.get("type") not in MARKED and isinstance(part.get("text"), str):
            text = as_plain_text(part["text"], tokens)
            if any(token in before + text for token in tokens):
                text = WORD_JOINER + text
            before = (before + text)[-longest:]
            part = {**part, "text": text}
        else:
            before = ""
        plain.append(part)
    return plain
