"""Files that callers name: only what was uploaded here, at every endpoint, whoever calls it."""

from pathlib import Path
from typing import Any

import gradio as gr

from .messages import UserError, user_error


class UploadsOnly(gr.Blocks):
    """A page whose calls may name uploads and nothing else: Gradio would download URLs, without a limit."""

    async def preprocess_data(self, block_fn: Any, inputs: list[Any], *args: Any, **kwargs: Any) -> list[Any]:
        """As Gradio's, which every call passes; what is wrong with inputs is told with a code.

        Raises:
            UserError: If an input is no upload, or not what its component takes.
        """
        try:
            check_files(inputs)
            return await super().preprocess_data(block_fn, inputs, *args, **kwargs)
        except UserError:
            raise
        except Exception as error:
            reason = f" {error.message}" if isinstance(error, gr.Error) else ""
            raise user_error(
                "[E_REQUEST] 보낸 값을 쓸 수 없습니다. 파일은 먼저 올리고, 설정은 정해진 범위로 보내 주세요.",
                f"E_REQUEST: an input cannot be used.{reason} Upload files first, and keep settings in their range.",
            ) from error


def check_files(value: Any) -> None:
    """Refuse whatever is named in place of an upload.

    Raises:
        UserError: `E_FORMAT` for a URL, `E_NOT_FILE` for another name that is no upload's.
    """
    if isinstance(value, list | tuple):
        for item in value:
            check_files(item)
    elif isinstance(value, dict):
        if "path" in value:
            _check_path(value["path"])
        for item in value.values():
            check_files(item)


def _check_path(path: Any) -> None:
    if isinstance(path, str) and "://" in path:
        raise user_error(
            "[E_FORMAT] 인터넷 주소는 열지 않습니다. 영상을 내려받아 파일로 올려 주세요.",
            "E_FORMAT: URLs are not opened. Download the clip and upload the file.",
        )
    if not isinstance(path, str) or "\0" in path or not Path(path).is_absolute():
        raise user_error(
            "[E_NOT_FILE] 올린 파일의 이름이 아닙니다. 영상을 다시 올려 주세요.",
            "E_NOT_FILE: that is not the name of an uploaded file. Upload the clip again.",
        )
