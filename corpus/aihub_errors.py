"""What can be wrong with an AI-Hub download: errors that stop a conversion, and rows that are left out of it."""

from dataclasses import dataclass

from configuration.coded_errors_kocap import CodedError


class AihubError(CodedError, ValueError):
    """A download that cannot be converted."""

    code = "E_AIHUB"
    message_ko = "AI-Hub 데이터를 변환할 수 없습니다."


class ArchiveError(AihubError):
    """A zip, or a part of one, that is missing, cut short or unreadable."""

    code = "E_ARCHIVE"
    message_ko = "압축 파일이 끝까지 내려받아지지 않았거나 손상되었습니다. 빠진 조각을 다시 내려받아 주세요."


class LabelError(AihubError):
    """A label file that is no JSON object with a caption in it.

    Args:
        line: Of the JSON error, from 1; None where no single line is at fault.
    """

    code = "E_LABEL"
    message_ko = "라벨 파일을 읽을 수 없습니다. JSON 형식과 인코딩(UTF-8, CP949)을 확인해 주세요."

    def __init__(self, message: str, line: int | None = None):
        super().__init__(message)
        self.line = line

    def __reduce__(self):
        return type(self), (self.args[0], self.line)


class NoCaptionKeyError(LabelError):
    """A label without any of the keys that hold captions."""

    code = "E_NO_CAPTION_KEY"
    message_ko = "라벨에서 설명문을 찾지 못했습니다. 설명문이 들어 있는 키를 --caption-key로 지정해 주세요."


class NoClipsError(AihubError):
    """Nothing to convert, or nothing left of it."""

    code = "E_NO_CLIPS"
    message_ko = "변환할 영상과 라벨이 없습니다. 원본 폴더와 rejected.jsonl의 사유를 확인해 주세요."


REASONS_KO = {  # of rows that are left out; videos that cannot be read bring their own
    "E_ARCHIVE": "압축 파일의 항목을 풀 수 없음",
    "E_NOT_FILE": "일반 파일이 아님",
    "E_LABEL": "라벨을 읽을 수 없음",
    "E_NO_CAPTION_KEY": "설명문 키가 없음",
    "E_NO_CLIP": "라벨에 맞는 영상이 없음",
    "E_NO_LABEL": "영상에 맞는 라벨이 없음",
    "E_AMBIGUOUS": "이름이 같은 파일이 여럿이라 짝을 정할 수 없음",
    "E_DUPLICATE": "검증용 영상과 거의 같아 학습용에서 제외",
    "E_RECORD": "레코드로 쓸 수 없음",
}


@dataclass(frozen=True)
class Rejection:
    """One row that is left out.

    Attributes:
        file: Relative to the source, or to the output where it was extracted.
        line: Within the file, from 1, where one is at fault.
    """

    file: str
    code: str
    reason: str
    reason_ko: str
    line: int | None = None


def reject(file: str, code: str, reason: str, line: int | None = None) -> Rejection:
    """A rejection whose Korean reason follows from the code."""
    return Rejection(file, code, reason, REASONS_KO[code], line)
