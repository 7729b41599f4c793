"""Descriptors: what it costs to have none, how soon it is over, and who else gets them."""

import errno
import json
import os
import socket
import subprocess
import sys
import time
from typing import Any

import pytest

from reactor import Phase, Stream
from tests.driving import ask, listen, only, receive, turn_until

# Of a CPU, and of the time that a waiting client may need once there is room again (s).
CPU_SHARE = 0.02
RECOVERY_S = 0.2
WATCHED_S = 0.3


async def echo(stream: Stream) -> None:
    while line := await stream.readline():
        stream.write(line)


class Starved(socket.socket):
    """A listening socket for which there is no descriptor for so many calls."""

    failures = 0
    calls = 0

    def accept(self) -> Any:
        self.calls += 1
        if self.failures:
            self.failures -= 1
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return super().accept()


def test_a_shortage_costs_no_cpu_and_is_over_at_once(make_loop: Any, connect: Any) -> None:
    """On the real clock: the standard module makes 184,000 tries a second of it, at 80 % of a CPU."""
    loop = make_loop(clock=None)
    sock = Starved(socket.AF_INET, socket.SOCK_STREAM)
    sock.bind(("127.0.0.1", 0))
    sock.listen()
    listener = listen(loop, echo, sock)
    early, leaving = connect(listener), connect(listener)
    for client in (early, leaving):
        ask(loop, client, b"hello\n", b"hello\n")
    sock.failures = 200
    waiting = connect(listener)
    waiting.sendall(b"at last\n")
    turn_until(loop, lambda: listener.row.phase is Phase.PAUSED)
    tries = sock.calls
    turns, cpu_s = 0, time.thread_time()
    until = loop.clock.now() + WATCHED_S
    while (left_s := until - loop.clock.now()) > 0:
        loop.step(left_s)
        turns += 1
        assert len(loop.timers) <= 1
    assert time.thread_time() - cpu_s <= CPU_SHARE * WATCHED_S
    assert tries < sock.calls <= tries + 3  # accept() fails, though other descriptors can be had
    assert turns <= 8
    turn_until(loop, lambda: listener.row.phase is Phase.PAUSED)
    tries = sock.calls
    early.close()  # gives back what somebody else takes: another try, and still one retry
    turn_until(loop, lambda: sock.calls > tries)
    loop.step(0)
    assert sock.calls <= tries + 2
    assert (len(loop.timers), listener.row.phase) == (1, Phase.PAUSED)
    sock.failures = 0
    began = loop.clock.now()
    leaving.close()
    assert receive(loop, waiting, 8) == b"at last\n"
    assert loop.clock.now() - began <= RECOVERY_S


LIST_DESCRIPTORS = """
import json, os
open_ones = {}
for name in os.listdir("/proc/self/fd"):
    if int(name) > 2:
        try:
            open_ones[name] = os.readlink("/proc/self/fd/" + name)
        except FileNotFoundError:
            pass  # that of listdir()
print(json.dumps([text for text in open_ones.values() if text.startswith(("socket:", "anon_inode:"))]))
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
def test_a_child_program_inherits_no_descriptor_of_the_loop(make_loop: Any, connect: Any, tmp_path: Any) -> None:
    """Not a listener (its port would stay taken), not a connection (it would stay open), not selector or waker."""

    def inherited() -> list[str]:
        command = [sys.executable, "-I", "-S", "-c", LIST_DESCRIPTORS]
        done = subprocess.run(command, close_fds=False, capture_output=True, timeout=20, check=True)
        return sorted(json.loads(done.stdout))

    before = inherited()
    loop = make_loop(clock=None)
    client = connect(listen(loop, echo))
    listen(loop, lambda packet: None, "udp://127.0.0.1:0")
    if hasattr(socket, "AF_UNIX"):
        connect(listen(loop, echo, f"unix://{tmp_path}/s"))
        turn_until(loop, lambda: loop.table.connections == 2)
    else:
        only(loop)
    ask(loop, client, b"hello\n", b"hello\n")
    assert {row.kind for row in loop.table} == {"listener", "datagram", "stream", "waker"}
    assert inherited() == before
