"""A folder of the demo's own for uploads and examples, gone when it ends. To be imported before Gradio.

Gradio would use `gradio` in the machine's temporary folder, which belongs to whoever came first. It reads the name from
the environment when it is imported, so this module sets it then.
"""

import atexit
import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

VARIABLE = "GRADIO_TEMP_DIR"
PREFIX = "kocap-demo-"


def _make(parent: Path) -> Path:
    """A new folder that this process holds a lock on, for as long as it lives."""
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    fcntl.flock(os.open(folder, os.O_RDONLY), fcntl.LOCK_EX)
    return folder


def remove_abandoned(parent: Path) -> None:
    """Remove what demos of this user left behind that were killed: nobody holds a lock on it any more."""
    for folder in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY)
            try:
                if os.fstat(descriptor).st_uid == os.getuid():
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)


def _prepare() -> Path:
    parent = Path(os.environ.get(VARIABLE) or tempfile.gettempdir())
    parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(parent)
    folder = _make(parent)
    os.environ[VARIABLE] = str(folder)
    return folder


WORKING_FOLDER, _OWNER = _prepare(), os.getpid()


@atexit.register
def remove_working_folder() -> None:
    """Remove the folder; for ends that `atexit` does not hear of, as Ctrl-C while models load."""
    if os.getpid() == _OWNER:  # not a process that was forked from it
        shutil.rmtree(WORKING_FOLDER, ignore_errors=True)
