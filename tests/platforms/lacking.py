"""Take things away from this platform: what WebAssembly, Windows and old Unixes do not have.

    REACTOR_TESTS_WITHOUT=epoll            on Linux, the best selector is poll
    REACTOR_TESTS_WITHOUT=epoll,poll       ... is select
    REACTOR_TESTS_WITHOUT=fork,thread,socketpair

What it is: a patch of the standard library, applied before `reactor` is first imported, in this process and (by way of
PYTHONPATH) in those that it starts. What it is not: a change of the library under test, which finds the platform as it
is. It is loaded by its path as well as by its name, so it imports nothing of ours.

Rules: selectors are gone for everybody, and `selectors.DefaultSelector` is the best of the rest, which is what the
demultiplexer takes · fork, threads and socket pairs are refused to `reactor` alone, with the errors of CPython on
WebAssembly: a test may well have a client in a thread · whatever was asked for is noted in a file, so that a test which
claims to need a thread can be told that it does not.
"""

import errno
import os
import selectors
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any

WITHOUT = "REACTOR_TESTS_WITHOUT"  # what this platform does not have, with commas
ALLOWED = "REACTOR_TESTS_ALLOWED"  # ... but the test under way may have, with commas
NOTES = "REACTOR_TESTS_NOTES"  # the file in which each thing that was asked for is a line

# The best first, as `selectors` chooses; select is everywhere.
SELECTORS = {
    "kqueue": "KqueueSelector", "epoll": "EpollSelector", "devpoll": "DevpollSelector", "poll": "PollSelector",
    "select": "SelectSelector",
}  # fmt: skip
CALLS = ("fork", "thread", "socketpair")
# Who calls for somebody else: the frame behind theirs counts.
GO_BETWEENS = ("threading", "socketserver", "concurrent.futures.", "contextlib", __name__)


def words(variable: str) -> list[str]:
    """Return what a variable of the environment lists."""
    return [word for word in os.environ.get(variable, "").split(",") if word]


def lack() -> None:
    """Take away what the environment says, here and in the children of this process.

    Raises:
        ValueError: it names something that cannot be taken away.
    """
    without = words(WITHOUT)
    known = [*SELECTORS, *CALLS]
    if unknown := set(without) - set(known) | {"select"} & set(without):
        raise ValueError(f"{WITHOUT} names {', '.join(sorted(unknown))}; it can be {', '.join(known)}, but not select")
    for word in without:
        if word in SELECTORS:
            _without_selector(word)
    if "fork" in without and hasattr(os, "fork"):
        os.fork = _refusing("fork", os.fork, OSError(errno.ENOSYS, "Function not implemented"))
    if "thread" in without:
        start = _refusing("thread", threading.Thread.start, RuntimeError("can't start new thread"))
        threading.Thread.start = start  # type: ignore[method-assign]
    if "socketpair" in without:
        socket.socketpair = _refusing("socketpair", socket.socketpair, OSError(errno.EINVAL, "Invalid argument"))
    if without:
        folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "child")
        others = [each for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each and each != folder]
        os.environ["PYTHONPATH"] = os.pathsep.join([folder, *others])


def _without_selector(word: str) -> None:
    """No selector of this name, and the default is the best one that is left."""
    if hasattr(selectors, SELECTORS[word]):
        delattr(selectors, SELECTORS[word])
    left = next(getattr(selectors, name) for name in SELECTORS.values() if hasattr(selectors, name))
    selectors.DefaultSelector = left  # type: ignore[misc]


def _refusing(word: str, function: Callable[..., Any], error: Exception) -> Callable[..., Any]:
    """Return a function that raises when `reactor` calls it, unless the test may have that."""

    def asked(*args: Any, **keywords: Any) -> Any:
        if _asked_by_reactor():
            note(word)
            if word not in words(ALLOWED):
                raise _hopeless(word) or error.with_traceback(None)
        return function(*args, **keywords)

    return asked


def _hopeless(word: str) -> Exception | None:
    """A loop that runs in a second thread and cannot be woken would only hang; and where threads are, pairs are too."""
    if word == "socketpair" and threading.current_thread() is not threading.main_thread():
        return RuntimeError("this test runs a loop in a thread, so it needs a socketpair: see tests/platforms/needs.py")
    return None


def _asked_by_reactor() -> bool:
    """Is the caller, go-betweens aside, a file of the library (its simulator is a test's)?"""
    frame = sys._getframe(2)
    while frame.f_back is not None and str(frame.f_globals.get("__name__", "")).startswith(GO_BETWEENS):
        frame = frame.f_back
    name = str(frame.f_globals.get("__name__", ""))
    return name.startswith("reactor.") and not name.startswith("reactor.testing.")


def note(word: str) -> None:
    """Write down that something was asked for; a line is written at once, whatever process does."""
    if path := os.environ.get(NOTES):
        with open(path, "a") as file:
            file.write(word + "\n")
