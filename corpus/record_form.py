"""The one form of all data: a row is a video, a conversation about it, and whatever else is known.

    {"id": "clip-1", "video": "videos/clip-1.mp4", "messages": [{"role": "user", "content": "<video>..."}, ...]}

Rows as ms-swift, LLaMA-Factory, ShareGPT and Hugging Face's VideoFolder write them are taken too.
"""

import json
import reprlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

VIDEO_MARK = "<video>"
# The prompt of processing.vision_tokens_kocap; importing that would load torch and transformers.
CAPTION_PROMPT = "이 영상을 한국어로 상세히 묘사해주세요."
ROLES = ("system", "user", "assistant")
SHAREGPT_ROLES = {"human": "user", "gpt": "assistant"}
OTHER_MEDIA = ("images", "audios")
FORM_FIELDS = {"id", "video", "videos", "messages", "conversations", *OTHER_MEDIA}
_REPR = reprlib.Repr()
_REPR.maxstring = 80


class RecordError(ValueError):
    """A row or a file that does not hold records.

    `str(error)` reads "E_RECORD: train.jsonl line 12: reason; way out". `message_ko` says the same in Korean.

    Args:
        path: The records file; None where a row was given by itself.
        line: Counted from 1; None where the whole file is meant.
    """

    code = "E_RECORD"

    def __init__(self, reason: str, reason_ko: str, path: Path | None = None, line: int | None = None):
        super().__init__(reason, reason_ko, path, line)  # what pickling calls it with again
        self.reason, self.reason_ko, self.path, self.line = reason, reason_ko, path, line

    def __str__(self) -> str:
        line = f" line {self.line}" if self.line else ""
        return f"{self.code}: {self.path}{line}: {self.reason}" if self.path else f"{self.code}: {self.reason}"

    @property
    def message_ko(self) -> str:
        line = f" {self.line}번째 줄" if self.line else ""
        return f"{self.path}{line}: {self.reason_ko}" if self.path else self.reason_ko


@dataclass(frozen=True)
class Record:
    """One video and one conversation about it.

    Attributes:
        id: Its own in a file.
        video: Path; relative to the folder of the records file, or absolute.
        messages: `{"role", "content"}`; `<video>` stands once in a user turn, and is put there where it is missing.
        metadata: Anything that JSON holds, under names the form does not use itself.

    Raises:
        RecordError: If a field breaks these rules.
    """

    id: str
    video: str
    messages: tuple[dict[str, str], ...]
    metadata: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        for name, value in (("video", self.video), ("id", self.id)):
            if not isinstance(value, str) or not value.strip():
                raise RecordError(
                    f"{name} is {shorten(value)}; write a text that is not empty",
                    f"{name} 값이 {shorten(value)}입니다. 비어 있지 않은 문자열을 적어 주세요.",
                )
        if "://" in self.video:
            raise RecordError(
                f"video is the URL {shorten(self.video)}; download it and write the file's path",
                f"video 값이 인터넷 주소({shorten(self.video)})입니다. 내려받은 파일의 경로를 적어 주세요.",
            )
        object.__setattr__(self, "messages", tuple(_mark_video(_read_turns(self.messages))))
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
    def caption(self) -> str:
        """What the assistant said last."""
        return next(turn["content"] for turn in reversed(self.messages) if turn["role"] == "assistant")

    def row(self) -> dict[str, Any]:
        """The record as one JSON object, metadata beside the form's own fields."""
        return {"id": self.id, "video": self.video, "messages": list(self.messages), **self.metadata}


def caption_record(record_id: str, video: str, caption: str, **metadata: Any) -> Record:
    """A record that asks for a detailed description and answers with `caption`."""
    question, answer = {"role": "user", "content": CAPTION_PROMPT}, {"role": "assistant", "content": caption}
    return Record(record_id, video, (question, answer), metadata)


def parse_row(row: Any) -> Record:
    """Read one row of any of the accepted forms; what no form uses becomes metadata.

    The video is `video`, `videos` (a list of one) or `file_name`. The conversation is `messages`, `conversations`
    (ShareGPT, where `system` may stand beside it), or `caption` or `text` alone. The id is the video's stem by default.

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
                f"the row has {name}, which would be lost; a record has one video and nothing else to look at",
                f"{name}은(는) 지원하지 않습니다. 한 행에는 영상 하나만 넣을 수 있습니다.",
            )
    video = _take_video(rest)
    messages = _take_messages(rest)
    record_id = rest.pop("id", None)
    if record_id is None and isinstance(video, str):
        record_id = Path(video).stem
    return Record(str(record_id) if type(record_id) is int else record_id, video, messages, rest)


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


def _mark_video(turns: list[dict[str, str]]) -> list[dict[str, str]]:
    """Put `<video>` in front of the first user turn where it is nowhere."""
    users = [turn for turn in turns if turn["role"] == "user"]
    marks = sum(turn["content"].count(VIDEO_MARK) for turn in turns)
    if marks != sum(turn["content"].count(VIDEO_MARK) for turn in users) or marks > 1:
        raise RecordError(
            f"{VIDEO_MARK} stands {marks} times in the messages; it may stand once, in a user turn",
            f"메시지에 {VIDEO_MARK}가 {marks}번 있습니다. user 메시지에 한 번만 적어 주세요.",
        )
    if not marks:
        users[0]["content"] = VIDEO_MARK + users[0]["content"]
    return turns


def _take_video(rest: dict[str, Any]) -> Any:
    """Remove the fields that name the video and return the one video they name."""
    named: list[Any] = []
    for name in ("video", "videos"):
        value = rest.pop(name, None)
        named += value if isinstance(value, list) else [] if value is None else [value]
    if not named and rest.get("file_name") is not None:
        named = [rest.pop("file_name")]
    if not named:
        raise RecordError(
            'the row names no video; write "video": "path" or "videos": ["path"]',
            '영상이 적혀 있지 않습니다. "video": "경로" 또는 "videos": ["경로"]를 적어 주세요.',
        )
    if any(other != named[0] for other in named):
        raise RecordError(
            f"the row names more than one video ({shorten(named)}); write one row for each",
            f"한 행에 영상이 둘 이상 있습니다({shorten(named)}). 영상마다 한 행씩 적어 주세요.",
        )
    return named[0]


def _take_messages(rest: dict[str, Any]) -> Any:
    """Remove the fields that hold the conversation and return it with our names for roles, unchecked."""
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
            return [{"role": "user", "content": CAPTION_PROMPT}, answer]
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
