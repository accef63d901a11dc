"""The one form of all data: a row is a video or an image, a conversation about it, and whatever else is known.

    {"id": "clip-1", "video": "videos/clip-1.mp4", "messages": [{"role": "user", "content": "<video>..."}, ...]}
    {"id": "photo-1", "image": "photos/1.jpg", "messages": [{"role": "user", "content": "<image>..."}, ...]}

Rows as ms-swift, LLaMA-Factory, ShareGPT and Hugging Face's VideoFolder write them are taken too.
"""

import json
import reprlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from configuration.coded_errors_kocap import CodedError

MARKS = {"video": "<video>", "image": "<image>"}
MEDIA_KO = {"video": "영상", "image": "이미지"}
# The prompt of processing.vision_tokens_kocap; importing that would load torch and transformers.
CAPTION_PROMPT = "이 영상을 한국어로 상세히 묘사해주세요."
IMAGE_PROMPT = "이 이미지를 한국어로 상세히 묘사해주세요."
ROLES = ("system", "user", "assistant")
SHAREGPT_ROLES = {"human": "user", "gpt": "assistant"}
OTHER_MEDIA = ("audios",)
FORM_FIELDS = {"id", "video", "videos", "image", "images", "messages", "conversations", *OTHER_MEDIA}
_REPR = reprlib.Repr()
_REPR.maxstring = 80


class RecordError(CodedError, ValueError):
    """A row or a file that does not hold records.

    `str(error)` reads "E_RECORD: train.jsonl line 12: reason; way out". `message_ko` says the same in Korean.

    Args:
        path: The records file; None where a row was given by itself.
        line: Counted from 1; None where the whole file is meant.
    """

    code = "E_RECORD"

    def __init__(self, reason: str, reason_ko: str, path: Path | None = None, line: int | None = None):
        super().__init__(reason)
        self.args = (reason, reason_ko, path, line)  # what pickling calls it with again
        self.reason, self.reason_ko, self.path, self.line = reason, reason_ko, path, line

    def __str__(self) -> str:
        line = f" line {self.line}" if self.line else ""
        return f"{self.code}: {self.path}{line}: {self.reason}" if self.path else f"{self.code}: {self.reason}"

    @property
    def message_ko(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        line = f" {self.line}번째 줄" if self.line else ""
        return f"{self.path}{line}: {self.reason_ko}" if self.path else self.reason_ko


@dataclass(frozen=True)
class Record:
    """One video or one image, and one conversation about it.

    Attributes:
        id: Its own in a file.
        video: Path; relative to the folder of the records file, or absolute. "" where the record is about an image.
        messages: `{"role", "content"}`; `<video>` (or `<image>`) stands once in a user turn, and is put there where it
            is missing.
        metadata: Anything that JSON holds, under names the form does not use itself.
        image: As `video`; exactly one of the two is given.

    Raises:
        RecordError: If a field breaks these rules.
    """

    id: str
    video: str
    messages: tuple[dict[str, str], ...]
    metadata: dict[str, Any] = field(default_factory=dict)
    image: str = ""

    def __post_init__(self):
        if self.video not in ("", None) and self.image not in ("", None):
            raise RecordError(
                f"the row names a video ({shorten(self.video)}) and an image ({shorten(self.image)}); a record is about"
                " one of them, write two rows",
                f"한 행에 영상({shorten(self.video)})과 이미지({shorten(self.image)})가 함께 있습니다."
                " 둘 가운데 하나만 넣고 행을 나누어 주세요.",
            )
        for name, value in ((self.medium, self.path), ("id", self.id)):
            if not isinstance(value, str) or not value.strip():
                raise RecordError(
                    f"{name} is {shorten(value)}; write a text that is not empty",
                    f"{name} 값이 {shorten(value)}입니다. 비어 있지 않은 문자열을 적어 주세요.",
                )
        if "://" in self.path:
            raise RecordError(
                f"{self.medium} is the URL {shorten(self.path)}; download it and write the file's path",
                f"{self.medium} 값이 인터넷 주소({shorten(self.path)})입니다. 내려받은 파일의 경로를 적어 주세요.",
            )
        object.__setattr__(self, "messages", tuple(_mark_medium(_read_turns(self.messages), self.medium)))
        if taken := sorted(FORM_FIELDS.intersection(self.metadata)):
            raise RecordError(
                f"metadata uses {', '.join(taken)}, which the form itself uses; rename it",
                f"메타데이터 이름 {', '.join(taken)}은(는) 이미 쓰이는 이름입니다. 다른 이름으로 바꿔 주세요.",
            )
        try:
            json.dumps(self.row(), ensure_ascii=False, allow_nan=False).encode()
        except (TypeError, ValueError, RecursionError) as error:
            raise RecordError(
                f"a value cannot be written as JSON in UTF-8 ({error}); use texts, finite numbers, lists and objects",
                f"JSON(UTF-8)으로 쓸 수 없는 값이 있습니다({error}). 문자열, 유한한 수, 목록, 객체만 사용해 주세요.",
            ) from None

    @property
    def medium(self) -> Literal["video", "image"]:
        """What the record is about."""
        return "image" if self.image not in ("", None) else "video"

    @property
    def path(self) -> str:
        """The video's path, or the image's."""
        return self.image if self.medium == "image" else self.video

    @property
    def caption(self) -> str:
        """What the assistant said last."""
        return next(turn["content"] for turn in reversed(self.messages) if turn["role"] == "assistant")

    def row(self) -> dict[str, Any]:
        """The record as one JSON object, metadata beside the form's own fields."""
        return {"id": self.id, self.medium: self.path, "messages": list(self.messages), **self.metadata}


def caption_record(record_id: str, video: str, caption: str, **metadata: Any) -> Record:
    """A record that asks for a detailed description and answers with `caption`."""
    question, answer = {"role": "user", "content": CAPTION_PROMPT}, {"role": "assistant", "content": caption}
    return Record(record_id, video, (question, answer), metadata)


def parse_row(row: Any) -> Record:
    """Read one row of any of the accepted forms; what no form uses becomes metadata.

    The video is `video`, `videos` (a list of one) or `file_name`; an image is `image` or `images` (a list of one). The
    conversation is `messages`, `conversations` (ShareGPT, where `system` may stand beside it), or `caption` or `text`
    alone. The id is the video's or image's stem by default.

    Raises:
        RecordError: If the row is none of these; without a path and a line.
    """
    if not isinstance(row, dict):
        raise RecordError(
            f"the row is {shorten(row)}, not an object; write one {{...}} a row",
            f"행이 객체가 아니라 {shorten(row)}입니다. 한 행에 {{...}} 하나를 적어 주세요.",
        )
    rest = dict(row)
    for name in OTHER_MEDIA:
        if rest.pop(name, None):
            raise RecordError(
                f"the row has {name}, which would be lost; a record has one video or one image and nothing else",
                f"{name}은(는) 지원하지 않습니다. 한 행에는 영상이나 이미지 하나만 넣을 수 있습니다.",
            )
    video, image = _take_media(rest)
    messages = _take_messages(rest, IMAGE_PROMPT if image else CAPTION_PROMPT)
    record_id = rest.pop("id", None)
    if record_id is None and isinstance(image or video, str):
        record_id = Path(image or video).stem
    return Record(str(record_id) if type(record_id) is int else record_id, video, messages, rest, image)


def _read_turns(messages: Any) -> list[dict[str, str]]:
    """Copy a conversation after checking every turn by itself."""
    if not isinstance(messages, list | tuple):
        raise RecordError(
            f'messages is {shorten(messages)}; write a list of {{"role", "content"}}',
            f'messages 값이 {shorten(messages)}입니다. {{"role", "content"}}의 목록을 적어 주세요.',
        )
    turns = []
    for number, turn in enumerate(messages, 1):
        where, where_ko = f"message {number}", f"{number}번째 메시지"
        if not isinstance(turn, dict) or turn.get("role") not in ROLES or not isinstance(turn.get("content"), str):
            raise RecordError(
                f"{where} is {shorten(turn)}; it needs a role ({', '.join(ROLES)}) and a text as content",
                f"{where_ko}가 {shorten(turn)}입니다. role({', '.join(ROLES)})과 문자열 content가 필요합니다.",
            )
        if lost := [name for name, value in turn.items() if name not in ("role", "content") and value is not None]:
            raise RecordError(
                f"{where} also has {', '.join(map(str, lost))}, which would be lost; keep role and content only",
                f"{where_ko}에 {', '.join(map(str, lost))}이(가) 더 있습니다. role과 content만 남겨 주세요.",
            )
        if turn["role"] == "assistant" and not turn["content"].strip():
            raise RecordError(
                f"{where} is an empty answer; write the answer or leave the row out",
                f"{where_ko}의 답이 비어 있습니다. 답을 적거나 이 행을 빼 주세요.",
            )
        turns.append({"role": turn["role"], "content": turn["content"]})
    for role, name_ko in (("user", "질문"), ("assistant", "답")):
        if not any(turn["role"] == role for turn in turns):
            raise RecordError(
                f"no message has the role {role}; a conversation needs a question and an answer",
                f"role이 {role}인 메시지({name_ko})가 없습니다. 질문과 답이 모두 필요합니다.",
            )
    return turns


def _mark_medium(turns: list[dict[str, str]], medium: str) -> list[dict[str, str]]:
    """Put `<video>` or `<image>` in front of the first user turn where it is nowhere."""
    users = [turn for turn in turns if turn["role"] == "user"]
    mark = MARKS[medium]
    marks = sum(turn["content"].count(mark) for turn in turns)
    if marks != sum(turn["content"].count(mark) for turn in users) or marks > 1:
        raise RecordError(
            f"{mark} stands {marks} times in the messages; it may stand once, in a user turn",
            f"메시지에 {mark}가 {marks}번 있습니다. user 메시지에 한 번만 적어 주세요.",
        )
    for other, other_mark in MARKS.items():
        if other != medium and any(other_mark in turn["content"] for turn in turns):
            raise RecordError(
                f"{other_mark} stands in the messages, but the row names no {other}; write {mark}, or name the {other}",
                f"메시지에 {other_mark}가 있지만 행에는 {MEDIA_KO[other]}이(가) 없습니다. {mark}로 고쳐 주세요.",
            )
    if not marks:
        users[0]["content"] = mark + users[0]["content"]
    return turns


def _take_media(rest: dict[str, Any]) -> tuple[Any, Any]:
    """Remove the fields that name the video or the image; the one that is not named is ""."""
    video, image = (_take_one(rest, medium) for medium in MARKS)
    if video in ("", None) and image in ("", None) and rest.get("file_name") is not None:
        video = rest.pop("file_name")
    if video is None and image is None:
        raise RecordError(
            'the row names no video; write "video": "path" or "videos": ["path"] (or "image": "path")',
            '영상이 적혀 있지 않습니다. "video": "경로" 또는 "videos": ["경로"]를 적어 주세요(이미지는 "image").',
        )
    return "" if video is None else video, "" if image is None else image


def _take_one(rest: dict[str, Any], medium: str) -> Any:
    """Remove the fields that name one medium and return the one path they name; None where they name none."""
    named: list[Any] = []
    for name in (medium, f"{medium}s"):
        value = rest.pop(name, None)
        named += value if isinstance(value, list) else [] if value is None else [value]
    if any(other != named[0] for other in named):
        raise RecordError(
            f"the row names more than one {medium} ({shorten(named)}); write one row for each",
            f"한 행에 {MEDIA_KO[medium]}이(가) 둘 이상 있습니다({shorten(named)}). 하나에 한 행씩 적어 주세요.",
        )
    return named[0] if named else None


def _take_messages(rest: dict[str, Any], prompt: str) -> Any:
    """Remove the fields that hold the conversation and return it with our names for roles, unchecked.

    Args:
        prompt: What a caption that stands alone answers.
    """
    messages, conversations = rest.pop("messages", None), rest.pop("conversations", None)
    if messages is not None and conversations is not None:
        raise RecordError(
            "the row has messages and conversations; keep one of them",
            "messages와 conversations가 함께 있습니다. 하나만 남겨 주세요.",
        )
    if isinstance(conversations, list):
        system = rest.pop("system", None)
        first = [] if system in (None, "") else [{"role": "system", "content": system}]
        return first + [_rename_sharegpt(turn) for turn in conversations]
    if messages is not None or conversations is not None:
        return messages if messages is not None else conversations
    for name in ("caption", "text"):
        if rest.get(name) is not None:
            answer = {"role": "assistant", "content": rest.pop(name)}
            return [{"role": "user", "content": prompt}, answer]
    raise RecordError(
        "the row has no conversation; write messages, conversations, caption or text",
        "대화가 없습니다. messages, conversations, caption, text 가운데 하나를 적어 주세요.",
    )


def _rename_sharegpt(turn: Any) -> Any:
    """`{"from", "value"}` to `{"role", "content"}`; anything else as it is."""
    if not isinstance(turn, dict) or not isinstance(turn.get("from"), str):
        return turn
    others = {name: value for name, value in turn.items() if name not in ("from", "value")}
    return {"role": SHAREGPT_ROLES.get(turn["from"], turn["from"]), "content": turn.get("value"), **others}


def shorten(value: Any) -> str:
    """A value as it may stand in a message."""
    return _REPR.repr(value)
