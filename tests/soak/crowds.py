"""The clients that misbehave: `python -m tests.soak.crowds JSON`.

Each kind of crowd arrives, keeps at it until it is told to stop, and then says what became of its members: how many were
answered, how many the server has ended, and whether anybody got what was somebody else's.

Orders come as lines on standard input: {"arrive": n}, {"until_ended": n}, then {"leave": true}; or {"churn": n}.
"""

from __future__ import annotations

import json
import select
import selectors
import socket
import struct
import sys
import time
from collections.abc import Callable
from typing import Any

# How often a crowd does something (s): often enough that each turn of the server has some of it in its batch.
TICK_S = 0.02
# What a client that never reads asks for at a time, and how often at once; the server's marks end it.
REPLY_BYTES, REQUESTS = 8192, 100
PATIENCE_S = 60.0
RESET = struct.pack("ii", 1, 0)  # SO_LINGER of 0 s: no TIME_WAIT, or 28,000 ports would be all that can be had a minute


class Member:
    """One connection, with a name of its own."""

    def __init__(self, name: str, address: tuple[str, int], receive_buffer: int = 0) -> None:
        self.name = name.encode()
        self.sock = socket.socket()
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.sock.settimeout(PATIENCE_S)
        self.sock.connect(address)

    def line(self) -> bytes:
        """Receive up to the end of a line; b"" if the server has ended the connection."""
        data = b""
        try:
            while not data.endswith(b"\n"):
                piece = self.sock.recv(65536)
                if not piece:
                    return b""
                data += piece
        except ConnectionError:
            return b""
        return data

    def ended(self) -> bool:
        """Has the server ended the connection?"""
        try:
            return not self.sock.recv(65536, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except ConnectionError:
            return True


class Crowd:
    """Members that do the same. This kind connects and is silent."""

    kind = "silent"
    receive_buffer = 0

    def __init__(self, addresses: list[tuple[str, int]]) -> None:
        self.addresses = addresses
        self.members: list[Member] = []
        self.born = self.answered = self.ended = self.wrong = 0
        self.ends = selectors.DefaultSelector()  # of those whom the server ends

    def arrive(self, count: int) -> None:
        """Connect so many."""
        for _ in range(count):
            self.one_more()

    def one_more(self) -> None:
        """Connect one, and begin."""
        address = self.addresses[self.born % len(self.addresses)]
        self.born += 1
        member = Member(f"{self.kind}-{self.born}", address, self.receive_buffer)
        self.members.append(member)
        self.begin(member)

    def begin(self, member: Member) -> None:
        """What a member does first."""

    def tick(self) -> None:
        """What the crowd does again and again."""

    def leave(self) -> dict[str, Any]:
        """Say what there is to say, see what became of each, and go."""
        for member in self.members:
            self.last_words(member)
        for member in self.members:
            self.part(member)
            member.sock.close()
        counts = {"came": self.born, "answered": self.answered, "ended": self.ended, "cross_talk": self.wrong}
        self.members.clear()
        return counts

    def last_words(self, member: Member) -> None:
        """What a member says before anybody goes."""

    def part(self, member: Member) -> None:
        """What a member does last."""

    def hear(self, member: Member, expected: bytes) -> bool:
        """Receive one answer and check it; False: the server has ended the connection."""
        line = member.line()
        self.answered += line == expected
        self.ended += not line
        self.wrong += line not in (b"", expected)
        return bool(line)


class NeverReading(Crowd):
    """Asks for more and more, and takes nothing."""

    kind = "never-reading"
    receive_buffer = 4096
    place = 0

    def begin(self, member: Member) -> None:
        self.ask(member)

    def ask(self, member: Member) -> None:
        """Send what the server still takes."""
        try:
            member.sock.send(b"%s %d\n" % (member.name, REPLY_BYTES) * REQUESTS, socket.MSG_DONTWAIT)
        except BlockingIOError:
            pass
        except ConnectionError:
            self.ended += 1

    def tick(self) -> None:
        """A twentieth of them tries again."""
        if self.members:
            for _ in range(len(self.members) // 20 + 1):
                self.place = (self.place + 1) % len(self.members)
                self.ask(self.members[self.place])

    def part(self, member: Member) -> None:
        """What the kernel holds for it is its own name, again and again."""
        try:
            data = member.sock.recv(1 << 20)
        except ConnectionError:
            data = b""
        words = set(data.split(b"\n")[:-1])
        self.answered += words == {member.name}
        self.wrong += not words <= {member.name}


class Slowloris(Crowd):
    """A byte now and then, of a request that never ends; whoever is ended comes again."""

    kind = "slowloris"
    place = 0
    byte_every_s = 1.0  # less than the limit, which would hold if it were on the time since the last byte

    def begin(self, member: Member) -> None:
        member.sock.sendall(member.name[:1])
        self.ends.register(member.sock, selectors.EVENT_READ, member)

    def tick(self) -> None:
        """Some send a byte, so that each does every `byte_every_s`; the dead ones come again."""
        for key, _ in self.ends.select(0):
            if key.data.ended():
                self.ends.unregister(key.fileobj)
                key.fileobj.close()  # type: ignore[union-attr]
                self.members.remove(key.data)
                self.ended += 1
                self.one_more()
        for _ in range(min(len(self.members), int(len(self.members) * TICK_S / self.byte_every_s) + 1)):
            self.place = (self.place + 1) % len(self.members)
            try:
                self.members[self.place].sock.send(b"x", socket.MSG_DONTWAIT)
            except (BlockingIOError, ConnectionError):
                pass


class PartialLines(Crowd):
    """60 KB of a line each, without an end; when they part, the end, and an answer is due."""

    kind = "partial"
    size = 60_000

    def text(self, member: Member) -> bytes:
        """Return the line of this member, without its end."""
        return (member.name + b"-") * (self.size // (len(member.name) + 1))

    def begin(self, member: Member) -> None:
        member.sock.sendall(self.text(member))

    def last_words(self, member: Member) -> None:
        """The end of the line: of all of them first, for the server may read nobody until some are done."""
        try:
            member.sock.sendall(b"\n")
        except ConnectionError:
            pass  # `part` will hear of it

    def part(self, member: Member) -> None:
        self.hear(member, self.text(member) + b"\n")


class Waiting(Crowd):
    """More of them than the server has descriptors for: each waits for its turn, gets its answer and goes."""

    kind = "waiting"

    def begin(self, member: Member) -> None:
        member.sock.sendall(member.name + b"\n")

    def leave(self) -> dict[str, Any]:
        """Whoever has an answer goes, which makes room for others; who was turned away comes again."""
        for member in self.members:
            self.ends.register(member.sock, selectors.EVENT_READ, member)
        while self.members:
            ready = self.ends.select(PATIENCE_S)
            if not ready:
                raise TimeoutError(f"{len(self.members)} of {self.born} clients wait for ever")
            for key, _ in ready:
                self.ends.unregister(key.fileobj)
                self.members.remove(key.data)
                heard = self.hear(key.data, key.data.name + b"\n")
                key.data.sock.close()
                if not heard:
                    self.one_more()
                    self.ends.register(self.members[-1].sock, selectors.EVENT_READ, self.members[-1])
        return super().leave()


CROWDS: dict[str, type[Crowd]] = {each.kind: each for each in (Crowd, NeverReading, Slowloris, PartialLines, Waiting)}


def churn(addresses: list[tuple[str, int]], count: int) -> dict[str, Any]:
    """Connect, ask, check the answer and reset, one after the other."""
    answered = wrong = 0
    began = time.perf_counter()
    for number in range(count):
        expected = b"churn-%d\n" % number
        with socket.create_connection(addresses[number % len(addresses)]) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            sock.sendall(expected)
            line = sock.recv(100)
        answered += line == expected
        wrong += line not in (b"", expected)
    took_s = time.perf_counter() - began
    return {"came": count, "answered": answered, "ended": 0, "cross_talk": wrong, "seconds": took_s}


def orders(tick: Callable[[], None]) -> Any:
    """Yield the orders as they come; between two of them, tick."""
    while True:
        if select.select([sys.stdin], [], [], TICK_S)[0]:
            line = sys.stdin.readline()
            if not line:
                return
            yield json.loads(line)
        else:
            tick()


def carry_out(crowd: Crowd, order: dict[str, Any]) -> dict[str, Any]:
    """Do what the order says, and say what came of it."""
    if "byte_every_s" in order and isinstance(crowd, Slowloris):
        crowd.byte_every_s = order["byte_every_s"]
    if "arrive" in order:
        crowd.arrive(order["arrive"])
    elif "until_ended" in order:
        while crowd.ended < order["until_ended"]:
            crowd.ends.select(TICK_S)
            crowd.tick()
    elif "churn" in order:
        return churn(crowd.addresses, order["churn"])
    elif "leave" in order:
        return crowd.leave()
    return {"ended": crowd.ended}


def main(options: dict[str, Any]) -> None:
    """Carry out the orders."""
    crowd = CROWDS[options["kind"]]([tuple(address) for address in options["addresses"]])
    for order in orders(lambda: crowd.tick()):
        sys.stdout.write(json.dumps(carry_out(crowd, order)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
