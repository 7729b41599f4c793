"""The demo: what it prints once, live on a terminal, and live into a pipe; and how it ends."""

import itertools
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

DEMO = Path(__file__).parents[1] / "examples" / "demo.py"
CLEAR = "\033[H\033[2J"
PATIENCE_S = 20

needs_terminals = pytest.mark.skipif(sys.platform == "win32", reason="needs pseudo-terminals")


class Screen:
    """What a demo prints, on a pipe or a terminal.

    Args:
        process: the demo.
        fd: to read from.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", fd: int) -> None:
        self.process, self._fd = process, fd
        self.text = ""

    def until(self, happened: Callable[[str], Any]) -> str:
        """Read until something is there; return all that was printed."""
        while not happened(self.text):
            data = self._read()
            assert data, f"it has ended: {self.text}"
            self.text += data.decode().replace("\r\n", "\n")
        return self.text

    def _read(self) -> bytes:
        try:
            return os.read(self._fd, 65536)
        except OSError:  # EIO: nobody has the other end of the terminal any more
            return b""

    def rest(self) -> str:
        """Read to the end, and demand that it was a good one."""
        while data := self._read():
            self.text += data.decode().replace("\r\n", "\n")
        assert self.process.stderr is not None
        assert (self.process.stderr.read(), self.process.wait(PATIENCE_S)) == (b"", 0)
        return self.text


Start = Callable[..., Screen]


@pytest.fixture
def start() -> Iterator[Start]:
    """Give a function that starts the demo with arguments, on a pipe or a terminal."""
    inherited = signal.signal(signal.SIGINT, signal.default_int_handler)  # an ignored one would be inherited as ignored
    with TemporaryDirectory() as folder, ExitStack() as stack:  # tmp_path may be too long for a Unix socket
        stack.callback(signal.signal, signal.SIGINT, inherited)

        def started(*arguments: str, terminal: bool = False, columns: int = 200) -> Screen:
            ours, its = os.openpty() if terminal else os.pipe()
            stack.callback(os.close, ours)
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-X", "dev", "-W", "error", str(DEMO), *arguments],
                    stdin=subprocess.DEVNULL, stdout=its, stderr=subprocess.PIPE,
                    env={**os.environ, "TMPDIR": folder, "COLUMNS": str(columns)},
                )
            )  # fmt: skip
            stack.callback(process.kill)
            os.close(its)
            return Screen(process, ours)

        yield started
        assert os.listdir(folder) == [], "the demo has left its temporary folder behind"


def command(text: str, name: str) -> list[str]:
    """Return the command line that is offered for a listener."""
    match = re.search(rf"^  {name} +(.*)$", text, re.MULTILINE)
    assert match, text
    return shlex.split(match[1])


def address(text: str, name: str) -> Any:
    """Return where a listener of the demo is."""
    place = next(word for word in command(text, name) if "://" in word)
    host, _, port = place.partition("://")[2].rpartition(":")
    return (host, int(port))


def test_once_it_talks_to_each_listener_and_shows_half_a_line(start: Start) -> None:
    text = start("--once").rest()
    talk, _, rest = text.partition("\nid  fd  kind ")
    table, _, end = rest.partition("\n\n")
    for name in ("greet", "upper", "backwards", "chat", "daytime"):
        assert re.search(rf"^  {name} +\S+ .*client\.py (tcp|udp)://127\.0\.0\.1:\d+", talk, re.MULTILINE), name
    assert re.search(r"  chat +< b'127\.0\.0\.1:\d+: hello\\n'", talk)
    assert re.search(r"  daytime +< b'.*-UTC\\r\\n'", talk)
    assert "  upper     < b'HELLO\\n'" in talk
    assert re.search(r"  greet .* RECEIVING  coroutine  6 B, until b'\\n' ", table)
    assert re.search(r"  backwards .* DETACHED   thread ", table)
    assert re.search(r"  files .* RECEIVING  framed +\d+ B, until b'\\r\\n\\r\\n' ", table)
    assert len(re.findall(r" (?:listener|datagram)  ", table)) == (7 if hasattr(socket, "AF_UNIX") else 6)
    assert re.search(
        r"^row \d+: RECEIVING for 0\.\d s: has 6 bytes, needs b'\\n' \(limit 80\); the request deadline ends it in ",
        table,
        re.MULTILINE,
    )
    assert "  greet     < b'Hello, Ann Boleyn\\n'" in end
    assert "  backwards < b'dodrawn\\n'" in end
    assert "  files     < b'HTTP/1.1 200 OK\\r\\n'" in end
    assert re.search(r"\ndrained in \d\.\d\d s: \d+ finished, \d+ were idle, 0 aborted\n$", end)


def test_in_a_pipe_it_prints_the_table_when_it_has_changed_and_ctrl_c_drains(start: Start) -> None:
    screen = start()
    text = screen.until(lambda text: " waker " in text)
    with socket.create_connection(address(text, "greet")) as client:
        client.sendall(b"Ann")
        text = screen.until(lambda text: re.search(r"3 B, until", text) and text.endswith(" s\n"))
        assert "has 3 bytes, needs b'\\n'" in text
        client.sendall(b"\n")
        text = screen.until(lambda text: "LINGERING" in text)
    screen.until(lambda text: text.count("\nid  fd ") >= 3 and "RECEIVING" not in text.split("\n\n")[-1])
    screen.process.send_signal(signal.SIGINT)
    text = screen.rest()
    assert CLEAR not in text
    tables = text.split("\n\n")[1:]
    assert all(rows_without_ages(a) != rows_without_ages(b) for a, b in itertools.pairwise(tables))
    assert re.search(r"\ndrained in \d\.\d\d s: \d finished, 0 were idle, 0 aborted\n$", text)


def rows_without_ages(table: str) -> str:
    """Return a table without what changes by itself."""
    return re.sub(r"\d+\.\d+ ?s", "", table)


@needs_terminals
def test_on_a_terminal_it_draws_the_ages_too_and_ctrl_c_drains(start: Start) -> None:
    screen = start(terminal=True)
    text = screen.until(lambda text: text.count(CLEAR) >= 3)  # though nothing happens
    with socket.create_connection(address(text, "greet")) as client:
        client.sendall(b"Ann")
        screen.until(lambda text: "3 B, until b'\\n'" in text)
        client.sendall(b"\n")
        screen.until(lambda text: "LINGERING" in text)
    screen.process.send_signal(signal.SIGINT)
    text = screen.rest()
    assert text.startswith(CLEAR + "Try ")
    assert all("Ctrl-C drains.\n" in drawing and "\nid  fd " in drawing for drawing in text.split(CLEAR)[1:])
    assert re.search(r"\ndrained in \d\.\d\d s: \d finished, 0 were idle, 0 aborted\n$", text)


@needs_terminals
def test_on_a_narrow_terminal_the_table_is_cut_and_the_commands_are_not(start: Start) -> None:
    screen = start("--seconds", "0", terminal=True, columns=40)
    table = screen.rest().split("\n\n")[1].splitlines()
    assert {len(line) <= 40 for line in table} == {True}
    assert len(command(screen.text, "daytime")) == 7


def test_a_second_ctrl_c_does_not_wait_for_a_blocking_handler(start: Start) -> None:
    screen = start()
    text = screen.until(lambda text: " waker " in text)
    with socket.create_connection(address(text, "backwards")) as client:
        client.sendall(b"half a line")
        screen.until(lambda text: "DETACHED" in text)
        screen.process.send_signal(signal.SIGINT)
        screen.until(lambda text: " greet " not in text.split("\n\n")[-1])  # the drain has begun
        screen.process.send_signal(signal.SIGINT)
        assert "1 aborted\n" in screen.rest()


@pytest.mark.parametrize("name", ["daytime", "upper"])
def test_a_command_that_it_offers_works(start: Start, name: str) -> None:
    screen = start()
    text = screen.until(lambda text: " waker " in text)
    done = subprocess.run(command(text, name), capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.stdout.startswith("Sent: ")
    assert re.search(r"\nReceived: (HELLO|.*-UTC)\n$", done.stdout)
    screen.process.send_signal(signal.SIGTERM)
    screen.rest()


@pytest.mark.parametrize(
    ("name", "typed", "answer"),
    [
        ("greet", "Ann\n", "What is your name? Hello, Ann\n"),
        ("backwards", "onward\n", "drawno\n"),
        pytest.param("echo", "on\nwar", "on\nwar", marks=pytest.mark.skipif(
            not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")),
    ],
)  # fmt: skip
def test_a_conversation_that_it_offers_works(start: Start, name: str, typed: str, answer: str) -> None:
    screen = start()
    text = screen.until(lambda text: " waker " in text)
    done = subprocess.run(command(text, name), input=typed, capture_output=True, text=True, timeout=PATIENCE_S)
    assert (done.stdout, done.stderr, done.returncode) == (answer, "", 0)
    screen.process.send_signal(signal.SIGTERM)
    screen.rest()


def test_its_own_files_are_served_and_nothing_is_logged(start: Start) -> None:
    screen = start()
    text = screen.until(lambda text: " waker " in text)
    match = re.search(r"^  files +(http://127\.0\.0\.1:\d+/) in a browser$", text, re.MULTILINE)
    assert match, text
    with urllib.request.urlopen(match[1] + "demo.py", timeout=PATIENCE_S) as reply:
        assert reply.read() == DEMO.read_bytes()
    screen.process.send_signal(signal.SIGTERM)
    screen.rest()


def test_it_ends_after_some_seconds(start: Start) -> None:
    text = start("--seconds", "0.2").rest()
    assert re.search(r"\ndrained in 0\.\d\d s: 0 finished, 0 were idle, 0 aborted\n$", text)


def test_the_ports_can_be_chosen(start: Start) -> None:
    for _ in range(5):  # another process may take one of them in between
        base = six_free_ports()
        screen = start("--once", "--port-base", str(base))
        if screen.process.wait(PATIENCE_S) == 0:
            break
    text = screen.rest()
    chosen = [address(text, name)[1] for name in ("backwards", "greet", "chat", "daytime", "upper")]
    assert chosen == [base, base + 1, base + 2, base + 3, base + 4]
    assert f"http://127.0.0.1:{base + 5}/" in text


def six_free_ports() -> int:
    """Return the first of six ports that are free just now."""
    while True:
        with ExitStack() as stack:
            base = 0
            try:
                for i in range(6):
                    probe = stack.enter_context(socket.socket())
                    probe.bind(("127.0.0.1", base and base + i))
                    base = base or probe.getsockname()[1]
            except (OSError, OverflowError):
                continue
            return base
