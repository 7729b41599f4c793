"""Programs of a page, running in processes of their own, and the clients that talk to them."""

import doctest
import re
import select
import shlex
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tests.docs.pages import PORT, Page, Talk, ports_of

PATIENCE_S = 10
SILENCE_S = 0.1  # for how long nothing must come: what should not come would be here at once


class Program:
    """A program of a page.

    Args:
        page: the page.
        speaker: its name, or a command line of the page that runs it.
        folder: where all programs of the page are, and where it runs.
        stack: gets it to end, whatever happens.
    """

    def __init__(self, page: Page, speaker: str, folder: Path, stack: ExitStack) -> None:
        words = shlex.split(speaker) if " " in speaker else ["python", speaker]
        assert " " not in speaker or speaker in page.commands, f"{speaker!r} is no command of {page.path.name}"
        for name, source in page.programs.items():
            (folder / name).write_text(PORT.sub("0", source))
        self.process = subprocess.Popen(
            [sys.executable, "-u", *words[1:]],
            cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        stack.callback(self._end)
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        self._stderr: list[str] = []
        self._listener = threading.Thread(target=self._listen)  # or a full pipe would hold the program
        self._listener.start()
        self.ports: dict[str, int] = {}
        for port in ports_of(page.programs[words[-1]]):
            line = self.process.stdout.readline()
            match = re.fullmatch(r"port (\d+)\n", line)
            assert match, f"{speaker} says {line!r} instead of its port {port}\n{self.errors()}"
            self.ports[port] = int(match[1])

    def _listen(self) -> None:
        assert self.process.stderr is not None
        self._stderr.extend(self.process.stderr)

    def _end(self) -> None:
        self.process.kill()
        self.process.wait()
        self._listener.join()
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()

    def errors(self) -> str:
        """End it and return what it wrote to stderr."""
        self.process.kill()
        self._listener.join()
        return "".join(self._stderr)

    def has(self, talk: Talk) -> None:
        """Talk to it."""
        if talk.language == "pycon":
            self._prompt(talk.lines)
        else:
            with ExitStack() as stack:
                Conversation(self.ports, stack).hold(talk.lines)

    def _prompt(self, lines: list[str]) -> None:
        """Type at a Python prompt."""
        real = {written: str(port) for written, port in self.ports.items()}
        text = "\n".join(lines) + "\n"
        text = PORT.sub(lambda match: real.get(match[0], match[0]), text)
        test = doctest.DocTestParser().get_doctest(text, {}, "prompt", None, 0)
        said: list[str] = []
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
        assert runner.run(test, out=said.append, clear_globs=False).failed == 0, "".join(said)
        for value in test.globs.values():
            if isinstance(value, socket.socket):
                value.close()


class Conversation:
    """People who talk to a program, each on a connection of their own.

    A line is a name, perhaps a port with a colon, a sign, and words:

        ann > hello            she sends a line
        ann >> hel             she sends this, without an end of line
        ann < HELLO            she hears a line
        ann << hel             she hears just this
        ann < (nothing)        she hears nothing
        ann < (the end)        the stream ends
        ann:9001 >             the first line of a person may name the port, if there are several; > without words
                               sends nothing, but connects
        ann hangs up
    """

    def __init__(self, ports: dict[str, int], stack: ExitStack) -> None:
        self._ports, self._stack = ports, stack
        self._people: dict[str, socket.socket] = {}

    def hold(self, lines: list[str]) -> None:
        """Say and hear all of it."""
        for line in lines:
            match = re.fullmatch(r"(\w+)(?::(\d+))? *(<<|>>|<|>|hangs up) ?(.*?)(?: +#.*)?", line)
            assert match, f"not understood: {line!r}"
            name, port, sign, words = match.groups()
            if name not in self._people:
                self._connect(name, port)
            self._do(sign)(self._people[name], words)

    def _connect(self, name: str, port: str | None) -> None:
        number = self._ports[port] if port else next(iter(self._ports.values()))
        client = self._people[name] = self._stack.enter_context(socket.create_connection(("127.0.0.1", number)))
        client.settimeout(PATIENCE_S)

    def _do(self, sign: str) -> Callable[[socket.socket, str], None]:
        return {">": says, ">>": says_part, "<": hears, "<<": hears_part, "hangs up": hangs_up}[sign]


def says(client: socket.socket, words: str) -> None:
    """Send a line; nothing, if there are no words."""
    if words:
        client.sendall(words.encode() + b"\n")


def says_part(client: socket.socket, words: str) -> None:
    """Send part of a line."""
    client.sendall(words.encode())


def hangs_up(client: socket.socket, words: str) -> None:
    """Close."""
    client.close()


def hears(client: socket.socket, words: str) -> None:
    """Demand a line, silence, or the end."""
    if words == "(nothing)":
        assert not select.select([client], [], [], SILENCE_S)[0], f"not nothing: {client.recv(1000)!r}"
    elif words == "(the end)":
        assert client.recv(1000) == b""
    else:
        hears_part(client, words + "\n")


def hears_part(client: socket.socket, words: str) -> None:
    """Demand these bytes."""
    heard = b""
    wanted = words.encode()
    while len(heard) < len(wanted):
        data = client.recv(len(wanted) - len(heard))
        assert data, f"the end, instead of the rest of {words!r}, behind {heard!r}"
        heard += data.replace(b"\r\n", b"\n")
    assert heard == wanted
