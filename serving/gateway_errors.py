"""What a client is told when a request fails: a status, a stable code, and a way out in two languages.

Nothing here names a folder, an address or a stack frame of the server.
"""

from typing import Any

from configuration.coded_errors_kocap import CodedError


class GatewayError(CodedError):
    """A request that is answered with an error.

    Args:
        message: In English, for developers; reads "value, rule, way out".
        retry_after_s: When to come again, where that may help.
    """

    status = 400
    code = "E_REQUEST"
    kind = "invalid_request_error"  # OpenAI's `type`
    message_ko = "요청을 이해할 수 없습니다. 요청의 형식을 확인해 주세요."

    def __init__(self, message: str, *, retry_after_s: int | None = None):
        super().__init__(message)
        self.retry_after_s = retry_after_s

    def body(self, request_id: str) -> dict[str, Any]:
        """As OpenAI's clients expect it, with `message_ko` and `request_id` added."""
        message = str(self).encode("utf-8", "replace").decode()  # it may name what is no Unicode
        told = {"message": message, "type": self.kind, "param": None, "code": self.code}
        return {"error": told | {"message_ko": self.message_ko, "request_id": request_id}}

    def headers(self) -> dict[str, str]:
        return {} if self.retry_after_s is None else {"Retry-After": str(self.retry_after_s)}


class UnsupportedError(GatewayError):
    """A parameter that would change the answer and is not supported."""

    code = "E_UNSUPPORTED"
    message_ko = "지원하지 않는 설정이 들어 있습니다. 그 설정을 빼고 다시 보내 주세요."


class UnknownModelError(GatewayError):
    status, code = 404, "E_MODEL"
    message_ko = "그런 이름의 모델이 없습니다. /v1/models에서 이름을 확인해 주세요."


class UnknownRouteError(GatewayError):
    status, code = 404, "E_ROUTE"
    message_ko = "그런 주소가 없습니다. 주소와 요청 방식을 확인해 주세요."


class HostError(GatewayError):
    status, code = 421, "E_HOST"
    message_ko = "이 서버는 그 이름으로는 답하지 않습니다. 서버를 시작할 때 나온 주소를 사용해 주세요."


class UnauthorizedError(GatewayError):
    status, code, kind = 401, "E_AUTH", "authentication_error"
    message_ko = "API 키가 없거나 맞지 않습니다. 'Authorization: Bearer 키' 헤더를 확인해 주세요."


class BodyTooLargeError(GatewayError):
    status, code = 413, "E_BODY_SIZE"
    message_ko = "보낸 내용이 너무 큽니다. 영상을 자르거나 더 작게 변환해 주세요."


class BodyTooSlowError(GatewayError):
    status, code = 408, "E_BODY_TIME"
    message_ko = "내용을 받는 데 시간이 너무 오래 걸려 연결을 끊었습니다. 네트워크를 확인하고 다시 보내 주세요."


class QueueFullError(GatewayError):
    status, code, kind = 429, "E_BUSY", "rate_limit_error"
    message_ko = "지금 요청이 너무 많습니다. Retry-After 헤더에 적힌 시간이 지난 뒤 다시 보내 주세요."


class TooSlowError(GatewayError):
    status, code, kind = 504, "E_DEADLINE", "server_error"
    message_ko = "정해진 시간 안에 답을 만들지 못했습니다. 더 짧은 답을 요청하거나 잠시 뒤에 다시 보내 주세요."


class EngineGoneError(GatewayError):
    status, code, kind = 503, "E_ENGINE", "server_error"
    message_ko = "모델이 아직 준비되지 않았거나 다시 시작하는 중입니다. 잠시 뒤에 다시 보내 주세요."


class ContextError(GatewayError):
    code = "E_CONTEXT"
    message_ko = "대화가 모델이 볼 수 있는 길이를 넘습니다. 프레임 수나 답의 최대 길이를 줄여 주세요."


class PromptError(GatewayError):
    code = "E_PROMPT"
    message_ko = "대화를 모델에 넣을 수 없습니다. 메시지의 역할과 순서를 확인해 주세요."


class GenerationError(GatewayError):
    status, code, kind = 500, "E_GENERATE", "server_error"
    message_ko = "설명을 만들다가 문제가 생겼습니다. 잠시 뒤에 다시 보내 주세요."


class InternalError(GatewayError):
    status, code, kind = 500, "E_INTERNAL", "server_error"
    message_ko = "서버에 문제가 생겼습니다. 잠시 뒤에 다시 보내고, 계속되면 request_id와 함께 알려 주세요."


class MediaError(GatewayError):
    """A video or picture that cannot be used; carries the code that its reader gave."""

    def __init__(self, code: str, message: str, message_ko: str):
        super().__init__(message.removeprefix(f"{code}: "))
        self.code, self.message_ko = code, message_ko


class ShortOfResourcesError(MediaError):
    """A video or picture for which the machine has no memory or process to spare; the file is not at fault."""

    status, kind = 503, "server_error"


class UrlRefusedError(GatewayError):
    code = "E_URL"
    message_ko = "이 인터넷 주소는 열 수 없습니다. 영상을 내려받아 파일로 올리거나 data: 주소로 보내 주세요."


class DownloadError(GatewayError):
    code = "E_DOWNLOAD"
    message_ko = "인터넷 주소에서 파일을 내려받지 못했습니다. 주소를 확인하거나 파일로 올려 주세요."


class ClientGoneError(Exception):
    """Nobody waits for the answer any more."""


ENGINE_ERRORS = {kind.code: kind for kind in (ContextError, PromptError, GenerationError)}
