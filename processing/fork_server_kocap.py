"""Run jobs in processes that may die: a server imports what they need once, then forks a child for each.

`multiprocessing` has a fork server too, but each of its children imports the caller's main program again: seconds and
gigabytes where that is a web demo. This one runs apart from the caller's program and speaks with it by sockets only.
Per job the parent sends one byte with three descriptors: the child's socket, a socket on which the server reports how
the child ended, and the job's file. When the parent closes the report socket, the child is killed; when it closes the
control socket, or dies, the server ends with every child.
"""

import atexit
import contextlib
import gc
import importlib
import io
import json
import math
import os
import selectors
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

try:  # Windows has neither this nor fork
    import resource
except ImportError:
    resource: Any = None

READY = b"R"
START_S = 60.0
END_S = 5.0  # between a child's end and the server's word of it, between closing a server and its end
NOT_STARTED = 71  # EX_OSERR
EXIT_CODE = struct.Struct("!i")
MAIN = """
import importlib, json, sys, types
folder, path, descriptor, worker = json.loads(sys.argv[1])
sys.path[:] = path
room = types.ModuleType("kocap_room")  # the modules of that folder, without what their package imports
room.__path__ = [folder]
sys.modules["kocap_room"] = room
importlib.import_module("kocap_room.fork_server_kocap").serve(descriptor, worker)
"""


class ServerGoneError(Exception):
    """The server ended before the job was done."""


@dataclass(frozen=True)
class Child:
    """A job's process, as the parent sees it.

    Attributes:
        data: Socket to talk with it.
    """

    data: socket.socket
    _report: socket.socket

    def exit_code(self) -> int:
        """How it ended, once `data` says that it did: minus the number of a signal, or what it exited with.

        Raises:
            ServerGoneError: If nobody knows.
        """
        self._report.settimeout(END_S)
        try:
            return EXIT_CODE.unpack(self._report.recv(EXIT_CODE.size))[0]
        except (OSError, struct.error) as error:
            raise ServerGoneError from error


class ForkServer:
    """The parent's side; starts the server when first needed, and again if it has died. Threads may share it.

    Args:
        worker: Module beside this one with a function `work(data: socket.socket, file: io.FileIO)`.
    """

    def __init__(self, worker: str):
        self._worker = worker
        self._forget()
        atexit.register(self.close)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)

    @contextlib.contextmanager
    def child(self, file: int) -> Iterator[Child]:
        """Start a child that works on an open file; it is killed when the context ends.

        Raises:
            ServerGoneError: If the server died, also from within the context. The next child gets a new server.
            NotImplementedError: On systems without fork.
        """
        if not hasattr(os, "fork"):
            raise NotImplementedError(
                "work in a separate process needs os.fork, which Windows lacks. Run it on Linux, macOS or WSL."
            )
        with self._lock:
            if self._process is None:
                self._start()
            process, control = self._process, self._control
        (data, childs), (report, servers) = socket.socketpair(), socket.socketpair()
        with data, report:
            try:
                with childs, servers:
                    _hand_over(control, [childs.fileno(), servers.fileno(), file])
                yield Child(data, report)
            except ServerGoneError:
                with self._lock:
                    if process is self._process:
                        self._stop()
                raise

    def close(self) -> None:
        """End the server and every child."""
        with self._lock:
            if self._process is not None:
                self._stop()

    def _start(self) -> None:
        self._control, servers = socket.socketpair()
        self._control.settimeout(START_S)
        folder = os.path.dirname(os.path.abspath(__file__))
        path = [os.path.abspath(entry) for entry in sys.path]
        with servers:
            self._process = subprocess.Popen(
                [sys.executable, "-ISc", MAIN, json.dumps([folder, path, servers.fileno(), self._worker])],
                env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"},
                pass_fds=[servers.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the parent to handle
            )
        if self._control.recv(len(READY)) != READY:
            self._stop()
            raise RuntimeError(f"the server for {self._worker} did not start; its own error is on stderr.")

    def _stop(self) -> None:
        self._control.shutdown(socket.SHUT_RDWR)  # another thread may be about to use it, so it is not closed
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = self._control = None

    def _forget(self) -> None:
        """Begin without a server; in a forked copy of the parent, it is left to the parent."""
        if getattr(self, "_process", None) is not None:
            self._control.close()
            self._process.returncode = 0  # not ours to wait for
        self._lock, self._process, self._control = threading.Lock(), None, None


def _hand_over(control: socket.socket, descriptors: list[int]) -> None:
    try:
        socket.send_fds(control, [b"J"], descriptors)
    except OSError as error:
        raise ServerGoneError from error


def serve(descriptor: int, worker: str) -> None:
    """The server's side: fork a child per job until the parent is gone."""
    work = importlib.import_module(f".{worker}", __package__).work
    control = socket.socket(fileno=descriptor)
    ended, ended_writable = os.pipe()
    os.set_blocking(ended_writable, False)
    signal.set_wakeup_fd(ended_writable, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    selector = selectors.DefaultSelector()
    selector.register(ended, selectors.EVENT_READ)
    selector.register(control, selectors.EVENT_READ)
    reports: dict[int, socket.socket] = {}  # by child
    gc.collect()
    gc.freeze()  # so that a child's garbage collection does not copy what they share
    control.send(READY)
    while True:
        for key, _ in selector.select():
            if key.fileobj is control:
                received, descriptors, _, _ = socket.recv_fds(control, len(b"J"), 3)
                if not received:
                    for pid in reports:
                        os.kill(pid, signal.SIGKILL)
                    return
                _fork(work, descriptors, reports, selector)
            elif key.fileobj == ended:
                os.read(ended, 4096)
                _reap(reports, selector)
            elif reports.get(key.data) is key.fileobj:  # the parent has closed its end
                os.kill(key.data, signal.SIGKILL)
                selector.unregister(key.fileobj)


def _fork(work: Callable, descriptors: list[int], reports: dict, selector: selectors.BaseSelector) -> None:
    if len(descriptors) < 3:  # too many are open here; the parent will see sockets closed
        for descriptor in descriptors:
            os.close(descriptor)
        return
    data, report, file = descriptors
    try:
        pid = os.fork()
        if pid == 0:
            _be_child(work, data, file)
        reports[pid] = socket.socket(fileno=report)
        selector.register(reports[pid], selectors.EVENT_READ, pid)
    except OSError:
        with socket.socket(fileno=report) as unforked:
            unforked.send(EXIT_CODE.pack(NOT_STARTED))
    os.close(data)
    os.close(file)


def _reap(reports: dict[int, socket.socket], selector: selectors.BaseSelector) -> None:
    while reports:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        with reports.pop(pid) as report:
            if report.fileno() in selector.get_map():  # otherwise it was killed because the parent had closed its end
                selector.unregister(report)
            with contextlib.suppress(OSError):
                report.send(EXIT_CODE.pack(os.waitstatus_to_exitcode(status)))


def _be_child(work: Callable, data: int, file: int) -> NoReturn:
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        first, second = sorted((data, file))
        for begin, end in ((3, first), (first + 1, second), (second + 1, os.sysconf("SC_OPEN_MAX"))):
            os.closerange(begin, end)  # among them the sockets of other jobs
        os.dup2(1, 2)  # to nowhere: what C libraries print about a stranger's file belongs into nobody's log
        work(socket.socket(fileno=data), io.FileIO(file))
        code = 0
    finally:
        os._exit(code)  # whatever happened, the child does not go on as a server


def give_up_rights(*, max_seconds: float, cpu_s: float, memory_bytes: int) -> None:
    """Limit this process for the rest of its life. It keeps its open files and can open nothing more, sockets included.

    Args:
        max_seconds: Of wall clock, after which it gets SIGALRM.
        cpu_s: Of processor time in all threads, rounded up to seconds, after which it gets SIGXCPU.
        memory_bytes: Of address space. Without effect on macOS.
    """
    signal.setitimer(signal.ITIMER_REAL, max_seconds)
    cpu_s = math.ceil(cpu_s)
    limits = {resource.RLIMIT_CPU: (cpu_s, cpu_s + 1)}  # a second later SIGKILL
    limits |= dict.fromkeys((resource.RLIMIT_FSIZE, resource.RLIMIT_CORE, resource.RLIMIT_NOFILE), (0, 0))
    if sys.platform != "darwin":
        limits[resource.RLIMIT_AS] = (memory_bytes, memory_bytes)
    for kind, wanted in limits.items():
        ceiling = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, wanted if ceiling == resource.RLIM_INFINITY else [min(w, ceiling) for w in wanted])
