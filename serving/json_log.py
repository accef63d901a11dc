"""The server's log: JSON objects, one a line, whatever is said to it and by whom."""

import json
import logging
import os
import sys
import threading
import traceback
import warnings

CHATTY = (
    "transformers",
    "ContinuousBatchingLogger",
    "processing",
    "httpx",
    "multipart",
    "python_multipart",
    "asyncio",
)


class JsonLines(logging.Formatter):
    """Log records as JSON objects; of a message its first line, since what follows may repeat what a client sent."""

    def format(self, record: logging.LogRecord) -> str:
        line = {"time": self.formatTime(record), "level": record.levelname, "logger": record.name}
        line |= {"message": record.getMessage().partition("\n")[0], **getattr(record, "facts", {})}
        if record.exc_info and record.exc_info[1]:
            line["failure"] = where(record.exc_info[1])
        return json.dumps(line, ensure_ascii=False)


def where(error: BaseException) -> str:
    """The kind of an error and the lines it came through; its message might repeat what a user sent."""
    frames = traceback.extract_tb(error.__traceback__)[-3:]
    lines = " < ".join(f"{frame.filename.rpartition('/')[2]}:{frame.lineno}" for frame in reversed(frames))
    return f"{type(error).__name__} at {lines}"


def log_json_lines() -> None:
    """From now on all that this process logs, warnings and failures of threads too, is lines of JSON on stderr."""
    logs = logging.StreamHandler()
    logs.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[logs], force=True)
    for chatty in CHATTY:
        logging.getLogger(chatty).setLevel(logging.ERROR)
    for library in logging.root.manager.loggerDict.values():
        if isinstance(library, logging.Logger):
            library.handlers.clear()  # transformers has some of its own, in plain text
            library.propagate = True
    # multiprocessing's helper is a process of its own; of a killed engine it would say that semaphores were left.
    os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker")
    if not sys.stderr.isatty():
        os.environ["TQDM_DISABLE"] = "1"  # progress bars are for people; the engine's process inherits it
    warnings.showwarning = _warn
    threading.excepthook = _fail


def _warn(message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: object) -> None:
    source = f"{filename.rpartition('/')[2]}:{lineno}"
    logging.getLogger("py.warnings").warning("%s at %s", category.__name__, source)


def _fail(failed: threading.ExceptHookArgs) -> None:
    error = failed.exc_value or failed.exc_type()
    logging.getLogger("threading").error("a thread failed", exc_info=(type(error), error, failed.exc_traceback))
