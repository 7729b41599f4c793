"""Work that leaves the loop: threads, forked children, and how a thread waits for the loop.

What it is: the only file (with `mixins`) that names threads and fork. What it is not: a pool; socketserver starts a
thread or a child per request, and so do we.

Rules: a socket meant for a thread or a child never enters the selector and is blocking · in a child, the loop's
descriptors are closed and nothing is unregistered, for the epoll set is shared with the parent · the child closes its
copies of other rows' sockets, so that no connection stays open because a child lives.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

T = TypeVar("T")
Thread = threading.Thread


class Gate:
    """Who serves, and who waits for it to end: the two flags of `serve_forever` and `shutdown`.

    A stop that comes before the start is kept: the next `serving` block is told to leave at once.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()  # shutdown() may come from a signal handler inside of it
        self._left = threading.Event()
        self._left.set()
        self._thread: int | None = None
        self._pid = 0
        self._stop: Callable[[], object] | None = None
        self.stop_requested = False

    @contextlib.contextmanager
    def serving(self, stop: Callable[[], object]) -> Iterator[None]:
        """Mark the block as serving; `stop` ends it, and must be legal in any thread."""
        with self._lock:
            self._left.clear()
            self._thread, self._pid, self._stop = threading.get_ident(), os.getpid(), stop
        try:
            yield
        finally:
            with self._lock:
                self._thread, self._stop = None, None
                self.stop_requested = False
                self._left.set()

    def shut(self) -> None:
        """Ask the block to end and wait until it has, unless nobody serves, or the caller is inside of it."""
        with self._lock:
            self.stop_requested = True
            stop, inside = self._stop, self._thread == threading.get_ident() or self._pid != os.getpid()
        if stop is None:
            return
        stop()
        if not inside:
            self._left.wait()


def start_thread(function: Callable[..., object], args: tuple[Any, ...], *, daemon: bool) -> threading.Thread:
    """Start a thread; the caller joins it."""
    thread = threading.Thread(target=function, args=args)
    thread.daemon = daemon
    thread.start()
    return thread


def thread_id() -> int:
    """Return the identity of the calling thread."""
    return threading.get_ident()


def ask(post: Callable[..., object], question: Callable[[], T], timeout_s: float) -> T:
    """Run `question` in another thread, through `post`, and return its answer.

    Raises:
        TimeoutError: no answer within `timeout_s`.
    """
    answered = threading.Event()
    answers: list[T] = []
    errors: list[Exception] = []

    def answer() -> None:
        try:
            answers.append(question())
        except Exception as error:
            errors.append(error)
        answered.set()

    post(answer)
    if not answered.wait(timeout_s):
        raise TimeoutError(f"the loop did not answer within {timeout_s:g} s: a handler holds it, or nobody runs it")
    if errors:
        raise errors[0]
    return answers[0]


def in_child(loop: Any, keep: Sequence[Any] | None) -> None:
    """Right after fork, in the child: leave the loop to the parent.

    Args:
        loop: the parent's loop; its descriptors are closed here.
        keep: what holds the socket of the request that the child serves; all other rows' are closed here.
    """
    for row in loop.table:
        if row.sock is not None and not any(row.sock is kept for kept in keep or ()):
            _close_copy(row.sock)
    loop.abandon()


def _close_copy(sock: Any) -> None:
    """Close the descriptor, which close() of a socket leaves open while a handler has files of it: here nobody goes on."""
    sock = getattr(sock, "_sock", sock)  # that of a tap
    with contextlib.suppress(OSError):
        if isinstance(sock, socket.socket):
            os.close(socket.socket.detach(sock))  # not a green socket's own, which asks the parent's selector
        else:
            sock.close()  # a pidfd, or one that is simulated
