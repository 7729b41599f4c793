"""The peers of a world: what each has said, what it must have been answered, and what it may complain about.

What it is: `Peer`, a connection, and `Sender`, somebody who sends packets. What it is not: a judge of the reactor; see
`judge`. Rules: a peer that was excused (`excused`: hit by a fault, cut off by a handler or an operator, late, rude) may
get less than all, but what it gets is right, from the beginning, and ends where an answer ends unless it ends in a reset.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from reactor.phases import End
from reactor.testing import Client

from . import wire
from .served import form_of
from .wire import Ask

if TYPE_CHECKING:
    from .play import Play

BY_TIME = ("idle_s", "request_s", "write_stall_s")  # not work_s, which goes on while a reply is sent piece by piece
STOPPED = "the reactor was stopped"
REFUSAL = b"HTTP/1.1 4"
SHOWN = 60
PACKET_BYTES = 65536


class Heard(bytearray):
    """What a client has received, and when it came."""

    def __init__(self, clock: Any) -> None:
        super().__init__()
        self.clock, self.at_s = clock, clock.now()

    def __iadd__(self, data: Any) -> Heard:
        if data:
            self.at_s = self.clock.now()
        self.extend(data)
        return self


class Peer:
    """One connection.

    Args:
        play: its world.
        number: its own number, which all that it sends names.
        which: the number of the listener.
        asks: all that it will ever ask.

    Raises:
        OSError: nobody listens.
    """

    def __init__(self, play: Play, number: int, which: int, asks: tuple[Ask, ...]) -> None:
        self.play, self.number, self.which = play, number, which
        self.at, way = play.spec.listeners[which]
        self.form = form_of(way)
        self.asks = asks
        self._wires = [wire.request(self.form, f"c{number}.{nth}", ask) for nth, ask in enumerate(asks)]
        self._script = b"".join(self._wires)
        self.sent = 0
        self.excused = ""
        self.left = ""  # how it has ended its own side: "eof", "close", "reset"
        self.was_deaf = self.was_paused = False
        self.was_idle = False  # when the reactor was stopped
        self.cannot_reset = False  # SO_LINGER may have been refused
        self.ends: list[End | None] = []  # of its row
        self.client: Client = play.world.connect(self.at)
        self._heard = self.client._received = Heard(play.world.clock)
        self.address: Any = self.client._sock._description

    def __str__(self) -> str:
        return f"peer {self.number} of {self.at} ({self.play.spec.listeners[self.which][1]})"

    def excuse(self, why: str) -> None:
        """From now on it may get less; whatever else befalls it is a better reason than a stop."""
        if self.excused in ("", STOPPED):
            self.excused = why

    # -- what it does -----------------------------------------------------------------------------------------------

    def say(self, count: int) -> None:
        """Send the next bytes of what there is to say."""
        if not self.left:
            data = self._script[self.sent : self.sent + count]
            self.sent += len(data)
            if data:
                self.was_idle = False
                self.client.send(data)

    def leave(self, how: str) -> None:
        """End our side."""
        if self.left in ("", "eof") and self.left != how:
            self.left = how
            {"eof": self.client.send_eof, "close": self.client.close, "reset": self.client.reset}[how]()
            if how != "eof":
                self.excuse("rude")

    def deaf(self) -> None:
        """Read nothing."""
        self.was_deaf = True
        self.client.stop_reading()

    # -- what it must get -------------------------------------------------------------------------------------------

    def is_content(self) -> bool:
        """Has it everything that it may still hope for?"""
        is_over = self.excused or (self.ends and self.client.ended)
        return bool(is_over) or bytes(self._heard) == self.expected(self.sent)[0]

    def is_idle(self) -> bool:
        """Has it asked for nothing that it has not got?"""
        answers, _, last = self.expected(self.sent)
        return bytes(self._heard) == answers and not last and self.sent in self._ends_of_requests()

    def expected(self, sent: int) -> tuple[bytes, set[int], str]:
        """Return the answers to what was sent, where one of them may end, and what the last request was."""
        answers, parts, at = b"", {0}, 0
        for nth, (ask, data) in enumerate(zip(self.asks, self._wires, strict=True)):
            at += len(data)
            if at > sent and ask.verb != "huge":
                break
            for body in wire.bodies(f"c{self.number}.{nth}", ask.verb, ask.amount):
                answers += wire.answer(self.form, body)
                parts.add(len(answers))
            if ask.verb in wire.LAST:
                return answers, parts, ask.verb
        return answers, parts, ""

    def row_ended(self, row: Any) -> Iterator[str]:
        """Its row has ended: once."""
        self.ends.append(row.end)
        if len(self.ends) > 1:
            yield f"{self}: row {row.id} has ended {len(self.ends)} times"

    def out_of_time(self, row: Any, now: float) -> Iterator[str]:
        """A deadline has decided on the end of its row: nobody ends too early, and nobody who waits for an answer."""
        name = row.detail.partition(":")[0]
        longest_s = self.play.spec.faults.delay_s[1]
        if name not in BY_TIME or self.was_deaf or self.play.suspended:
            return
        asked = row.bytes_in if longest_s else self.sent
        if name == "request_s":  # of a request that came only in part, whoever is served meanwhile
            is_sink = self.expected(asked)[2] == "half"
            if asked in self._ends_of_requests() and not self._is_ours() and not is_sink:
                yield f"{self}: {row.detail}, but all its {asked} bytes are whole requests"
            return
        if now - self._heard.at_s < getattr(row.limits, name) - longest_s - 1e-6:
            yield f"{self}: {row.detail}, but it was served {now - self._heard.at_s:.3f} s ago"
        if name == "write_stall_s":
            yield f"{self}: {row.detail}, but it reads whatever comes"
        unsent = len(self.expected(asked)[0]) - row.bytes_out
        if name == "idle_s" and unsent > 0 and not self._is_ours():
            yield f"{self}: {row.detail}, but {unsent} bytes were not sent that it had asked for"

    def _is_ours(self) -> bool:
        """Was it kept waiting by this world?"""
        return bool(self.excused) or self.was_paused

    def _ends_of_requests(self) -> set[int]:
        at = accumulate(map(len, self._wires), initial=0)
        return set(at)

    def complaints(self, *, over: bool) -> Iterator[str]:
        """What is wrong with what it got; `over`: everything had its time, and it has ended its side."""
        self.client.pump()
        got, ended = bytes(self._heard), self.client._ended
        answers, parts, last = self.expected(self.sent)
        if not answers.startswith(got):
            if not self._is_refusal(got, answers, parts):
                yield f"{self}: {got[-SHOWN:]!r} is not the next part of its answers ({len(got)} bytes received)"
            return
        if len(got) not in parts and ended == "eof" and "unix" not in self.at and not self.cannot_reset:
            yield f"{self}: an answer was cut after {len(got)} bytes, and looks whole"
        was_told = not self.was_deaf and not self.was_paused
        if self.was_idle and self.excused == STOPPED and ended == "reset" and was_told:
            yield f"{self}: it was idle when the reactor was stopped, and was reset"
        if self.excused or self._may_be_cut(last) or not self._is_served(over):
            return
        if got != answers:
            yield f"{self}: got {len(got)} bytes of {len(answers)}, ended {ended!r}, row {self.ends}"
        elif over and last != "abort" and ended != "eof":
            yield f"{self}: ended {ended!r} after {last or 'its end of stream'!r}, row {self.ends}"
        elif not over and not last and self.left != "eof" and ended:
            yield f"{self}: ended {ended!r} without a reason, row {self.ends}"

    def _is_served(self, over: bool) -> bool:
        """Has it been accepted? A listener may be full until others have left."""
        return over or bool(self.ends) or self.address in self.play.open_ends()

    def _may_be_cut(self, last: str) -> bool:
        """After an abort all may be lost; who does not read, or talks on, when the server has ended, is given up."""
        if last == "abort" or "connections_per_peer" in self.play.refusing:
            return True
        talks_on = self.sent > self.play.world.reactor.limits.linger_bytes
        return bool(last) and (self.was_deaf or self.play.suspended or talks_on)

    def _is_refusal(self, got: bytes, answers: bytes, parts: set[int]) -> bool:
        """The protocol's own word before it hangs up."""
        if self.form != wire.HTTP:
            return False
        at = max(part for part in parts if answers[:part] == got[:part])
        word = got[at:]
        return word.startswith(REFUSAL) or (bool(self.excused) and REFUSAL.startswith(word))  # a fault may cut it short


class Sender:
    """Somebody who sends packets from one socket.

    Args:
        play: its world.
        number: its own number.
        which: the number of the listener.
    """

    def __init__(self, play: Play, number: int, which: int) -> None:
        self.number, self.which = number, which
        self.at = play.spec.listeners[which][0]
        parsed, family, self._to = play.world._address_of(self.at)
        self._sock = play.world._peers.socket(family, parsed.type)
        self._sock.setblocking(False)
        if parsed.family == "unix":
            self._sock.bind(f"\0sender {number}")
        self.sent: list[bytes] = []
        self.got: list[bytes] = []

    def __str__(self) -> str:
        return f"sender {self.number} of {self.at}"

    def say(self, count: int) -> None:
        """Send a packet of about so many bytes."""
        data = wire.filler(f"d{self.number}.{len(self.sent)}", min(count, 400)) + b"|%d" % len(self.sent)
        try:
            self._sock.sendto(data, self._to)
        except OSError:  # nobody is there, or does not keep up
            return
        self.sent.append(data)

    def take(self) -> None:
        """Receive what is there."""
        while True:
            try:
                self.got.append(self._sock.recv(PACKET_BYTES))
            except BlockingIOError:
                return
            except OSError:
                continue  # an error that the network reports is told once

    def complaints(self) -> Iterator[str]:
        """Packets may be lost; what comes is ours, and comes once."""
        self.take()
        rest = [b"=" + data for data in self.sent]
        for data in self.got:
            if data not in rest:
                yield f"{self}: {data[:SHOWN]!r} is none of its answers, or came twice"
                return
            rest.remove(data)
