"""How every script ends: an expected failure is a coded message, Korean first, and an exit code; Ctrl-C is quiet.

    from configuration.script_endings import coded_ending, quiet_until_main

    if __name__ == "__main__":
        quiet_until_main()  # the imports that follow take seconds

    @coded_ending(failed=2, interrupted="같은 명령을 다시 실행하면 이어서 합니다.")
    def main(...):

Whatever is not expected keeps its traceback: that is a bug, and ours to mend.
"""

import errno
import functools
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from typing import NoReturn, ParamSpec, TypeVar

from .coded_errors_kocap import CodedError
from .disk_writing import DiskError, is_disk_fault, system_words

INTERRUPTED = 130  # as shells have it
BROKEN_PIPE = 1
ADDRESS_FAULTS = {errno.EADDRINUSE, errno.EADDRNOTAVAIL}
EXIT_CODE = "kocap_exit_code"

TRUST_HELP = (
    "모델 저장소에 든 코드를 실행하도록 허락합니다. 그 코드는 이 컴퓨터에서 내 권한으로 무엇이든 할 수 있으니,"
    " 읽어 보고 믿을 수 있을 때만 사용해 주세요 (기본값: 실행하지 않음)"
)

P = ParamSpec("P")
R = TypeVar("R")


class FileError(CodedError, OSError):
    """A file or folder that is not there or may not be opened."""

    code = "E_FILE"


class AddressError(CodedError, OSError):
    """A port that somebody else has, or a host name that is not this machine's."""

    code = "E_ADDRESS"
    message_ko = "그 주소나 포트는 쓸 수 없습니다. 이미 쓰고 있는 프로그램을 끝내거나 다른 포트를 지정해 주세요."


class NetworkError(CodedError):
    """The Hub or another server that cannot be reached, or refuses."""

    code = "E_NETWORK"
    message_ko = "서버에 연결하지 못했거나 서버가 거절했습니다. 네트워크와 로그인을 확인하고 다시 실행해 주세요."


class OutOfMemoryError(CodedError):
    """The machine's or the GPU's memory does not suffice."""

    code = "E_MEMORY"
    message_ko = "메모리가 부족합니다. 프레임 수나 배치를 줄이거나 더 작은 모델을 써 주세요."


class InputError(CodedError, ValueError):
    """An argument or an input that cannot be used."""

    code = "E_INPUT"


def coded_ending(*, failed: int = 1, interrupted: str = "", again: Callable[[], str] | None = None) -> Callable:
    """Decorate a script's main function, or a command of it; typer sees its arguments as before.

    Args:
        failed: Exit code of an expected failure, where `exiting_with` says no other.
        interrupted: What is said after Ctrl-C, in Korean.
        again: What is said after every failure, in both languages.
    """

    def decorate(main: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(main)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            print_whatever_comes()
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGINT, signal.default_int_handler)
            try:
                return main(*args, **kwargs)
            except KeyboardInterrupt:
                _end_interrupted(interrupted)
            except BrokenPipeError:  # `| head` has read enough
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                raise SystemExit(BROKEN_PIPE) from None
            except Exception as error:
                coded = as_coded(error)
                if coded is None:
                    raise
                tell(*([f"[{coded.code}] {coded.message_ko}", f"  {coded}"] + ([again()] if again else [])))
                raise SystemExit(getattr(error, EXIT_CODE, failed)) from None

        return run

    return decorate


def as_coded(error: Exception) -> CodedError | None:
    """An expected failure as a coded error; None for what nobody expects."""
    if isinstance(error, CodedError):
        return error
    if is_disk_fault(error):
        place = getattr(error, "filename", None) or os.getcwd()
        return DiskError(place, "a file", system_words(error))
    kinds = {f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(error).__mro__}
    if kinds & {"httpx.HTTPError", "httpx2.HTTPError"}:
        return NetworkError(str(error))
    if isinstance(error, MemoryError) or "torch.OutOfMemoryError" in kinds:
        return OutOfMemoryError(str(error) or "the machine has no memory left.")
    if isinstance(error, OSError):
        if error.errno in ADDRESS_FAULTS:
            return AddressError(str(error))
        named = [str(name) for name in (error.filename, error.filename2) if name is not None]
        if named:
            return FileError(str(error), f"파일을 열거나 쓸 수 없습니다({error.strerror}): {', '.join(named)}")
        return FileError(str(error), f"운영 체제가 거절했습니다: {error}")
    if isinstance(error, ValueError):
        return InputError(str(error), f"입력이나 설정을 쓸 수 없습니다: {error}")
    return None


@contextmanager
def exiting_with(code: int, *, unless: type[Exception] | tuple[()] = ()) -> Iterator[None]:
    """Another exit code than the script's usual one for what fails inside, but not for errors of class `unless`."""
    try:
        yield
    except Exception as error:
        if not isinstance(error, unless):
            setattr(error, EXIT_CODE, code)
        raise


def tell(*lines: str) -> None:
    """Say something on stderr, below any bar of progress, without a Hub token that a message may hold."""
    text = without_token("\n".join(lines))
    bar = getattr(sys.modules.get("tqdm"), "tqdm", None)  # not yet while it is being imported
    if bar:
        bar.write(text, file=sys.stderr)
    else:
        print(text, file=sys.stderr)
    sys.stderr.flush()


def without_token(text: str) -> str:
    """`text` with Hub tokens replaced by stars."""
    hub = sys.modules.get("huggingface_hub")
    token = hub.get_token() if hub else None
    text = text.replace(token, "***") if token else text
    return re.sub(r"hf_[A-Za-z0-9]{30,}", "***", re.sub(r"Bearer \S+", "Bearer ***", text))


def print_whatever_comes() -> None:
    """Let terminals that cannot show Korean or emoji show escapes in their place."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError):  # not a terminal, a pipe or a file: a test's buffer
            stream.reconfigure(errors="backslashreplace")


def quiet_until_main() -> None:
    """Until a `coded_ending` begins, as while a script imports, Ctrl-C ends the process without a traceback."""
    print_whatever_comes()
    signal.signal(signal.SIGINT, lambda *_: _end_interrupted(""))


@contextmanager
def shielded_from_interrupts() -> Iterator[None]:
    """Processes that start inside never hear of Ctrl-C; whoever starts them ends them.

    A signal that is blocked here stays blocked in them, from their very first import on.
    """
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # multiprocessing's own; when it starts, it unblocks the signal again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_interrupted(korean: str) -> NoReturn:
    """End at once: a normal exit would wait for threads that read or download."""
    print(f"중단했습니다. {korean}".rstrip(), "  Interrupted.", sep="\n", file=sys.stderr, flush=True)
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    os._exit(INTERRUPTED)
