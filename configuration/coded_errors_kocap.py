"""What a user is told when something is wrong or odd: a stable code, the same in English and in Korean, how serious."""

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]


class CodedError(Exception):
    """Something that a user can mend: each kind is a class with a code of its own.

    `str(error)` reads "CODE: value, rule, way out", in English, for logs and developers; `message_ko` tells whoever is
    concerned what to do, in Korean. Instances survive pickling, so they cross from other processes as they are.

    Args:
        message: English, without the code.
        message_ko: Where the class's own sentence does not say enough.
    """

    code = "E_KOCAP"
    message_ko = "요청한 일을 하지 못했습니다."
    severity: Severity = "error"

    def __init__(self, message: str, message_ko: str | None = None):
        super().__init__(message)
        if message_ko is not None:
            self.message_ko = message_ko

    def __str__(self) -> str:
        return f"{self.code}: {super().__str__()}"


@dataclass(frozen=True)
class Notice:
    """Something to know about a thing that was done all the same, or left out.

    Attributes:
        code: Stable, `W_...` or `E_...`; how serious it is says `severity` alone.
        message: In English, for logs and developers.
        message_ko: The same in Korean, for whoever is concerned.
        severity: `error` where something is missing for it.
    """

    code: str
    message: str
    message_ko: str
    severity: Severity = "warning"

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"
