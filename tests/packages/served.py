"""How the tests of real packages run a server, in every way there is, and how they talk to it.

What it is: a server on the *standard* classes as the guest of a reactor (`hosted`) or with `ReactorMixIn` (`on_its_own`), a
program in a process of its own with our module in the place of the standard one (`program`), and real clients. What it is
not: a list of packages; each has its own file, and says there what cannot work and why.
"""

import contextlib
import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reactor import HttpRequests, Reactor
from reactor.serving import ReactorMixIn
from tests.running import ROOT, Running

NEEDED = "pip install 'socketreactor[packages]' (make packages)"
# Only turns a hang into a failure (s).
PATIENCE_S = 10
# What a server that is frozen is given to prove it (s).
FROZEN_S = 0.5

# How `add` is called for a server of http.server, by way.
HTTP_WAYS: dict[str, dict[str, Any]] = {
    "inline": {"way": "inline"},
    "thread": {"way": "thread"},
    "greenlet": {"way": "greenlet"},
    "framed": {"framing": HttpRequests()},
}
# The same on a command line, before the program.
HTTP_OPTIONS: dict[str, list[str]] = {
    "inline": ["--way", "inline"],
    "thread": ["--way", "thread"],
    "greenlet": ["--way", "greenlet"],
    "framed": ["--framing", "http"],
}
# One client that says nothing stops a server of these ways, as it stops socketserver's.
FROZEN_BY_SILENCE = ("inline",)

Address = tuple[str, int]


def every_way(ways: dict[str, Any] = HTTP_WAYS) -> Any:
    """Run a test once a way: its argument `way` is the name."""
    return pytest.mark.parametrize("way", list(ways))


# -- servers ------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def hosted(server: Any, **how: Any) -> Iterator[Any]:
    """Have a reactor, in a thread of its own, host a server; give the listener, and demand that no row failed."""
    with failing_on_errors(), Reactor() as loop:
        listener = loop.add(server, **how)
        running = Running(lambda: loop.run(handle_signals=False))
        try:
            yield listener
        finally:
            loop.stop(drain_s=PATIENCE_S)
            running.join()


@contextlib.contextmanager
def on_its_own(server: Any) -> Iterator[Any]:
    """Call `serve_forever` in a thread, `shutdown` and `server_close` at the end; give the server."""
    with failing_on_errors():
        running = Running(server.serve_forever)
        try:
            yield server
        finally:
            server.shutdown()
            running.join()
            server.server_close()


def with_mixin(kind: Any, **attributes: Any) -> Any:
    """Return a class of servers with ReactorMixIn in front of it."""
    return type(f"Reactor{kind.__name__}", (ReactorMixIn, kind), attributes)


@contextlib.contextmanager
def failing_on_errors() -> Iterator[None]:
    """Fail if the library logs an error, or warns: it contains failures, its own among them."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = records.append  # type: ignore[method-assign]
    log = logging.getLogger("reactor")
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)
    texts = [f"{record.getMessage()} {record.exc_info or ''}" for record in records]
    assert not texts, "\n".join(texts)


class Program:
    """A program in a process of its own.

    Attributes:
        text: what it has printed so far, stdout and stderr.
    """

    def __init__(self, folder: Path, words: list[str], environment: dict[str, str]) -> None:
        self.text = ""
        path = os.pathsep.join([str(ROOT), str(folder)])
        self.process = subprocess.Popen(
            [sys.executable, "-u", *words], cwd=folder, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, "PYTHONPATH": path, **environment},
            start_new_session=True,
        )  # fmt: skip

    def until(self, pattern: str) -> str:
        """Read what it prints up to a line that matches; return the first group. The test's timeout bounds it."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.text += line
            found = re.search(pattern, line)
            if found:
                return found[1]
        raise AssertionError(f"it has ended with status {self.process.wait(PATIENCE_S)}:\n{self.text}")

    def kill(self) -> None:
        """End it, and what it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.rest()

    def rest(self) -> str:
        """Wait for the end, and return all that was printed."""
        if not self.process.stdout.closed:  # type: ignore[union-attr]
            self.text += self.process.communicate(timeout=PATIENCE_S)[0]
        return self.text


@contextlib.contextmanager
def program(folder: Path, words: list[str], *, options: list[str] | None = None, **environment: str) -> Iterator[Program]:
    """Run `python -m reactor.socketserver OPTIONS WORDS` in a folder (options None: `python WORDS`), killed at the end."""
    ours = [] if options is None else ["-m", "reactor.socketserver", *options]
    running = Program(folder, [*ours, *words], environment)
    try:
        yield running
    finally:
        running.kill()


def script(folder: Path, source: str, name: str = "served_script.py") -> str:
    """Write a program and return its name."""
    (folder / name).write_text(textwrap.dedent(source))
    return name


# -- clients ------------------------------------------------------------------------------------------------------------


def command(name: str) -> str:
    """Return the path of a program, or skip the test."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def run(*words: str, stdin: bytes = b"", status: int = 0, **options: Any) -> bytes:
    """Run a client; return what it printed, fail if it failed or hung."""
    done = subprocess.run(words, input=stdin, capture_output=True, timeout=PATIENCE_S, check=False, **options)
    assert done.returncode == status, f"{words} ended with {done.returncode}: {done.stderr!r} {done.stdout!r}"
    return done.stdout


def curl(*words: str, stdin: bytes = b"", status: int = 0) -> bytes:
    """Run curl and return what it printed."""
    return run(command("curl"), "--silent", "--show-error", "--max-time", "10", *words, stdin=stdin, status=status)


def url(address: Address, path: str = "/") -> str:
    """Return the address of a page."""
    return f"http://{address[0]}:{address[1]}{path}"


@contextlib.contextmanager
def silent_clients(address: Any, count: int = 3) -> Iterator[list[socket.socket]]:
    """Open connections that say nothing, as a browser does that guesses what comes next."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(socket.create_connection(address, PATIENCE_S)) for _ in range(count)]


def exchange(address: Address, request: bytes, *, within_s: float = PATIENCE_S, half_close: bool = False) -> bytes:
    """Send bytes on a new connection and return all that comes back until its end."""
    with socket.create_connection(address, within_s) as client:
        client.sendall(request)
        if half_close:
            client.shutdown(socket.SHUT_WR)
        reply = b""
        while data := client.recv(65536):
            reply += data
        return reply


def get(path: str = "/", version: str = "1.0", *fields: str) -> bytes:
    """Return a request."""
    return "\r\n".join([f"GET {path} HTTP/{version}", "Host: x", *fields, "", ""]).encode()


def assert_silence_stops(address: Address, way: str, ask: Callable[[], object]) -> None:
    """Behind silent connections a request is answered, or not, as the way promises; and always once they are gone."""
    with silent_clients(address):
        if way in FROZEN_BY_SILENCE:
            assert_frozen(address)
        else:
            ask()
    ask()


def assert_frozen(address: Address) -> None:
    """A request is not answered."""
    with pytest.raises(TimeoutError):
        exchange(address, get(), within_s=FROZEN_S)


def upload_awaited(address: Address, path: str = "/", body: bytes = b"12345", *fields: str) -> bytes:
    """POST a body that is sent only when the server has said 100 Continue; return what comes behind that."""
    lines = [f"POST {path} HTTP/1.1", "Host: x", "Connection: close", "Expect: 100-continue", *fields]
    with socket.create_connection(address, PATIENCE_S) as client, client.makefile("rb") as replies:
        client.sendall("\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode())
        assert replies.readline().startswith(b"HTTP/1.1 100 ")
        assert replies.readline() == b"\r\n"
        client.sendall(body)
        return replies.read()


def check_http(address: Address, path: str, page: bytes) -> None:
    """Get a page as different clients do."""
    there = url(address, path)
    assert curl(there) == page
    assert curl("--http1.0", there) == page
    assert curl(there, there, there) == page * 3
    head = curl("--head", there)
    assert head.startswith(b"HTTP/1.")
    assert not head.endswith(page)
    assert exchange(address, get(path), half_close=True).endswith(page)
