"""Each example does what its docstring says: the transcript in it is typed, line by line, and the output compared.

A transcript is what stands indented by four spaces. Its lines, each waited for in turn:

    $ python examples/...      starts a program; what follows is what it prints
    ann$ python examples/...   the same in a terminal of its own, whose later lines begin with "ann: "
    ann> hello                 a line typed in that terminal
    ^C                         SIGINT for the first program, which must then end well

Places are written as a person would type them. A test gives port 0 and paths of its own instead, and learns from the
lines "listening at ..." what they became. Numbers that differ from run to run match any number.
"""

import ast
import doctest
import importlib.util
import os
import re
import select
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from reactor import Endpoint

EXAMPLES = Path(__file__).parents[1] / "examples"
TESTED_ELSEWHERE = {"client.py", "demo.py"}  # every other example talks to the client; demo.py has a test of its own
NEEDS = {
    "unix": hasattr(socket, "AF_UNIX"),
    "forking": hasattr(os, "fork"),
    "greenlet": importlib.util.find_spec("greenlet") is not None,
    "own_loop": hasattr(selectors.DefaultSelector, "fileno"),  # poll and select have no descriptor to watch
}

STARTED = re.compile(r"(\w*)\$ python examples/(\S+) ?(.*)")
TYPED = re.compile(r"(\w+)> (.*)")
# In a table and its explanation: descriptors, ports, ages.
VARYING = [
    (re.compile(r"\b\d+\.\d+ ?s\b"), "0.0 s"),
    (re.compile(r"(?<=127\.0\.0\.1:)\d+"), "PORT"),
    (re.compile(r"^( *\d+ +)\d+(?= +(listener|waker|stream|datagram))"), r"\1FD"),
]


class Program:
    """An example that runs."""

    def __init__(self, arguments: list[str]) -> None:
        # Development mode and -W error: a socket that is not closed, or a warning, is something on stderr.
        command = [sys.executable, "-X", "dev", "-W", "error", str(EXAMPLES / arguments[0]), *arguments[1:]]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )

    def type(self, line: str) -> None:
        """Type a line."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def read(self) -> str:
        """Return the next line of output."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        return line.rstrip("\n") if line else f"(its output has ended; errors: {self.rest()[1]})"

    def rest(self) -> tuple[str, str]:
        """Close its input, wait for its end, and return what is left of output and errors."""
        return self.process.communicate()

    def end(self) -> None:
        """Demand that it ends well and has nothing more to say."""
        assert (*self.rest(), self.process.returncode) == ("", "", 0)

    def kill(self) -> None:
        """End it whatever happened."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.communicate()


class Typist:
    """Types a transcript.

    Args:
        folder: where the Unix sockets go.
        stack: gets the programs to end, whatever happens.
    """

    def __init__(self, folder: str, stack: ExitStack) -> None:
        self._folder, self._stack = folder, stack
        self._terminals: dict[str, Program] = {}
        self._all: list[Program] = []
        self._places: dict[str, str] = {}  # written in the transcript: what it became

    def type(self, transcript: list[str], *, wait: bool = True) -> None:
        """Type all of it, then wait for all to end."""
        for line in transcript:
            if match := STARTED.fullmatch(line):
                self._start(*match.groups())
            elif match := TYPED.fullmatch(line):
                self._terminals[match[1]].type(match[2])
            elif line == "^C":
                self._end_of_the_last()
                self._all[0].process.send_signal(signal.SIGINT)
                self._terminals[""] = self._all[0]
            else:
                self._expect(line)
        if wait:
            for program in self._all:
                program.end()

    def place(self, written: str) -> str:
        """Return what a place of the transcript became."""
        return self._places[written]

    def _start(self, name: str, script: str, arguments: str) -> None:
        if not name:
            self._end_of_the_last()
        for written, real in self._places.items():
            arguments = re.sub(rf"{re.escape(written)}(?!\d)", real, arguments)
        program = Program([script, *map(self._own_place, arguments.split())])
        self._stack.callback(program.kill)
        self._all.append(program)
        self._terminals[name] = program

    def _end_of_the_last(self) -> None:
        """A program that was started in the common terminal has ended before another one is typed there."""
        last = self._terminals.get("")
        if last is not None and last is not self._all[0]:
            last.end()

    def _own_place(self, argument: str) -> str:
        if argument.startswith("/tmp/"):
            return os.path.join(self._folder, os.path.basename(argument))
        return "0" if argument.isdecimal() and not self._all else argument

    def _expect(self, line: str) -> None:
        name, colon, wanted = line.partition(": ")
        if not colon or name not in self._terminals:
            name, wanted = "", line
        got = self._terminals[name].read()
        if wanted.startswith("listening at ") and got.startswith("listening at "):
            self._places[wanted.removeprefix("listening at ")] = got.removeprefix("listening at ")
            return
        assert same(wanted, got), f"expected {wanted!r}, got {got!r}"


def same(wanted: str, got: str) -> bool:
    """Compare two lines, as doctest does: "..." is anything, and so is what varies from run to run."""
    if "0 finished, 0 were idle" in wanted:
        got = re.sub(r"\d+ finished, \d+ were idle", "0 finished, 0 were idle", got)  # as fast as the clients were
    for pattern, name in VARYING:
        wanted, got = pattern.sub(name, wanted), pattern.sub(name, got)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    return doctest.OutputChecker().check_output(wanted + "\n", got + "\n", flags)


def transcript_of(path: Path) -> list[str]:
    """Return the indented lines of the docstring."""
    docstring = ast.get_docstring(ast.parse(path.read_text()), clean=False) or ""
    return [line[4:] for line in docstring.splitlines() if line.startswith("    ")]


@pytest.fixture
def typist() -> Iterator[Typist]:
    """Give one who types, with a folder whose name is short enough for Unix sockets."""
    # What a shell's background job or a CI job may have ignored, a program inherits as ignored.
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with TemporaryDirectory() as folder, ExitStack() as stack:
            yield Typist(folder, stack)
            assert os.listdir(folder) == [], "an example has left its path behind"
    finally:
        signal.signal(signal.SIGINT, inherited)


all_examples = pytest.mark.parametrize(
    "path",
    sorted(path for path in EXAMPLES.glob("*.py") if path.name not in TESTED_ELSEWHERE),
    ids=lambda path: path.stem,
)


@all_examples
def test_the_example_does_what_it_says(path: Path, typist: Typist) -> None:
    for word, there in NEEDS.items():
        if word in path.name and not there:
            pytest.skip(f"this platform cannot do {path.stem}")
    transcript = transcript_of(path)
    assert transcript
    typist.type(transcript)


@all_examples
def test_the_code_of_an_example_fits_a_screen(path: Path) -> None:
    code = path.read_text().split('"""', 2)[2]
    assert code.count("\n") <= 40


def test_the_chat_drops_a_member_who_does_not_read(typist: Typist) -> None:
    typist.type(["$ python examples/chat.py 9999", "listening at tcp://127.0.0.1:9999"], wait=False)
    place = typist.place("tcp://127.0.0.1:9999")
    with connected(place) as slow, connected(place) as fast, fast.makefile("rb") as told:
        slow.sendall(b"slow\n")
        assert slow.recv(100) == b"* here: slow\n"  # and then it reads no more
        fast.sendall(b"fast\n")
        assert told.readline() == b"* here: slow, fast\n"
        while not select.select([fast], [], [], 0)[0]:
            fast.sendall(b"%999d\n" % 1 * 100)
        assert told.readline() == b"* slow has gone\n"
        with slow.makefile("rb") as unread, pytest.raises(ConnectionError):  # cut off, not ended
            unread.read()
    typist.type(["^C", "drained in 0.00 s: 0 finished, 0 were idle, 0 aborted"])


def connected(place: str) -> socket.socket:
    """Return a client that takes little before it is slow."""
    endpoint = Endpoint.parse(place)
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.settimeout(10)
    client.connect((endpoint.host, endpoint.port))
    return client
