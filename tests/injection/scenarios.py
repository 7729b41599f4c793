"""What is played while faults fall: a handful of scenarios that reach every site of the engine that a simulated world has.

What it is: functions of a `Play`; each says what must come back. What it is not: complete in what handlers can do; it is
the system calls that count here.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any

from reactor import BAD_ENDS, Limits, Lines, Raw, Recorder
from reactor.observers import Observers
from reactor.servers import TCPServer, UDPServer

from .play import Play, Talk
from .served import (
    LARGE,
    OTHER,
    SECOND,
    TCP,
    UDP,
    UNIX,
    UNIX_PACKETS,
    Curious,
    ShoutAll,
    Upper,
    UpperAll,
    UpperPacket,
    careless,
    half,
    hosted,
    large,
    rude,
    shout,
    twice,
    upper,
)  # fmt: skip


def _two(play: Play, at: str, answer: Callable[[bytes], bytes] = bytes.upper) -> tuple[Talk, Talk]:
    first, second = play.talk(at), play.talk(at)
    play.run()
    return first, second


def echo(play: Play) -> None:
    play.listen(TCP, handler=upper)
    play.listen(OTHER, handler=upper)
    first, second = _two(play, TCP)
    third = play.talk(OTHER)
    for talk in (first, second, third, first):
        talk.say(b"hello\n", b"HELLO\n")
        play.run()
    for talk in (first, second):
        talk.client.send_eof()
        talk.ends = "eof"
    play.run()
    third.say(b"last\n", b"LAST\n")
    play.run()


def raw(play: Play) -> None:
    play.listen(TCP, handler=shout)
    play.listen(UNIX, handler=shout)
    first, second = _two(play, TCP)
    third = play.talk(UNIX)
    for talk in (first, second, third, first, third):
        talk.say(b"hello\n", b"HELLO\n")
        play.run()
    first.client.send_eof()
    first.ends = "eof"
    play.run()


def half_requests(play: Play) -> None:
    for at in (TCP, SECOND, UNIX):
        play.listen(at, handler=upper)
    talks = [play.talk(at) for at in (TCP, SECOND, UNIX)]
    for piece, answer in ((b"hel", b""), (b"lo\nwor", b"HELLO\n"), (b"ld\na\nb\nc\n", b"WORLD\nA\nB\nC\n"), (b"x", b"")):
        for talk in talks:
            talk.say(piece, answer)
        play.run()
    for talk in talks:
        talk.say(b"y\n", b"XY\n")
        talk.client.send_eof()
        talk.ends = "eof"
    play.run()
    play.listeners[UNIX].close()
    play.run()
    del play.listeners[UNIX]
    play.listen(UNIX, handler=upper)  # the path was given back
    talk = play.talk(UNIX)
    talk.say(b"again\n", b"AGAIN\n")
    play.run()


def guarded(play: Play) -> None:
    """A path that this user alone may connect to."""
    play.listen(UNIX, handler=upper, mode=0o600, allow_users=(os.getuid(),))
    for talk in _two(play, UNIX):
        talk.say(b"hello\n", b"HELLO\n")
        talk.client.send_eof()
        talk.ends = "eof"
    play.run()


def framed(play: Play) -> None:
    play.listen(TCP, hosted(TCPServer, Upper, framing=Lines()))
    first, second = _two(play, TCP)
    for piece, answer in ((b"on", b""), (b"e\n", b"ONE\n")):
        first.say(piece, answer)
        second.say(piece, answer)
        play.run()
    first.ends = second.ends = "eof"  # as in socketserver: it returned without asking for more


def framed_all(play: Play) -> None:
    play.listen(TCP, hosted(TCPServer, UpperAll, framing=Lines()))
    first, second = _two(play, TCP)
    for piece, answer in ((b"one\ntw", b"ONE\n"), (b"o\nthree\n", b"TWO\nTHREE\n")):
        first.say(piece, answer)
        second.say(piece, answer)
        play.run()
    first.client.send_eof()
    first.ends = "eof"
    play.run()


def framed_raw(play: Play) -> None:
    play.listen(TCP, hosted(TCPServer, ShoutAll, framing=Raw()))
    first, second = _two(play, TCP)
    for talk in (first, second, first):
        talk.say(b"hello\n", b"HELLO\n")
        play.run()
    first.client.send_eof()
    first.ends = "eof"
    play.run()


def inline(play: Play) -> None:
    play.listen(TCP, hosted(TCPServer, UpperAll, way="inline"))
    for _ in range(3):
        talk = play.talk(TCP)
        talk.say(b"one\ntwo\n", b"ONE\nTWO\n")
        talk.client.send_eof()
        talk.ends = "eof"
        play.run()


def curious(play: Play) -> None:
    play.listen(TCP, hosted(TCPServer, Curious, framing=Lines()))
    for talk in _two(play, TCP):
        talk.say(b"one\ntw", b"ONE\n")
        play.run()
        talk.say(b"o\n", b"TWO\n")
        play.run()


def failing_hooks(play: Play) -> None:
    """Servers whose hooks raise: they go on, and so do the others."""
    play.listen(OTHER, handler=upper)
    other = play.talk(OTHER)
    for number, keywords in enumerate(({"way": "inline"}, {"framing": Lines()})):
        at = f"tcp://127.0.0.1:{90 + number}"
        play.listen(at, hosted(TCPServer, UpperAll, fails=True, **keywords))
        for _ in range(2):
            talk = play.talk(at)
            talk.free = True
            talk.say(b"x\n")
            play.run()
        play.listeners.pop(at).server.server_close()
        play.run()
    other.say(b"x\n", b"X\n")
    play.run()


def behind_our_back(play: Play) -> None:
    """A descriptor that is closed without a word, and given to another connection."""
    play.listen(TCP, handler=careless)
    for number in range(3):
        talk = play.talk(TCP)
        talk.say(b"x\n", b"x\n")
        play.run()
        if number < 2:
            talk.free = True
            talk.say(b"close\n")
        play.run()


def stale_path(play: Play) -> None:
    """The socket of a server that has crashed, and a socket that the program has made itself."""
    peers = play.world._peers
    for kind, path in ((socket.SOCK_STREAM, UNIX), (socket.SOCK_DGRAM, UNIX_PACKETS)):
        with peers.socket(peers.AF_UNIX, kind) as crashed:
            crashed.bind(path.partition("://")[2])
    play.listen(UNIX, handler=upper)
    play.listen(UNIX_PACKETS, handler=twice)

    def own(play: Play, endpoint: str) -> Any:
        sock = play.world.reactor.sockets.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            sock.bind(("127.0.0.1", 80))
            sock.listen(16)
            return play.world.reactor.listen(sock, upper)
        except BaseException:
            sock.close()
            raise

    play.listen(TCP, own)
    for at in (UNIX, TCP):
        talk = play.talk(at)
        talk.say(b"x\n", b"X\n")
        talk.client.send_eof()
        talk.ends = "eof"
        play.run()
    play.packet(UNIX_PACKETS, b"y", [b"y", b"Y"])


def packets(play: Play) -> None:
    for at in (UDP, UNIX_PACKETS):
        play.listen(at, handler=twice)
    play.listen("udp://127.0.0.1:54", hosted(UDPServer, UpperPacket, way="inline"))
    for _ in range(3):
        play.packet(UDP, b"x", [b"x", b"X"])
        play.packet(UNIX_PACKETS, b"y", [b"y", b"Y"])
        play.packet("udp://127.0.0.1:54", b"z", [b"Z"])


def connect_ask_close(play: Play) -> None:
    play.listen(TCP, handler=upper)
    for number in range(4):
        talk = play.talk(TCP)
        talk.free = number % 2 == 0
        talk.say(b"x\n", b"X\n")
        if talk.free:
            talk.client.close() if number else talk.client.reset()
        else:
            talk.client.send_eof()
            talk.ends = "eof"
        play.run()


def slow_reader(play: Play) -> None:
    play.listen(TCP, handler=large)
    play.listen(SECOND, handler=large)
    talks = [play.talk(TCP), play.talk(SECOND), play.talk(TCP)]
    for talk in talks:
        talk.client.stop_reading()
        talk.say(b"please\n", LARGE)
        talk.parts = [0, len(LARGE)]
        talk.ends = "eof"
    play.run()
    play.advance(1.0)
    for talk in talks:
        talk.client.go_on_reading()
        play.run()
    play.advance(3.0)  # over the lingering


def half_close(play: Play) -> None:
    play.listen(TCP, handler=half)
    first, second = _two(play, TCP)
    for talk in (first, second):
        talk.say(b"word\n", b"word\n")
        talk.ends = "eof"
    play.run()
    for talk in (first, second):
        talk.say(b"more that nobody answers\n")
        talk.client.send_eof()
    play.run()


def lingering(play: Play) -> None:
    """The server ends first, while the client still talks."""
    play.listen(TCP, handler=large)
    first, second = _two(play, TCP)
    for talk in (first, second):
        talk.say(b"please\n" + bytes(20000), LARGE)
        talk.parts = [0, len(LARGE)]
        talk.ends = "eof"
        play.run()
    play.advance(2.0)  # a listener that has paused goes on
    first.say(bytes(2000))
    play.run()
    first.client.close()
    play.advance(3.0)


def aborting(play: Play) -> None:
    """Connections that the server resets."""
    play.listen(TCP, handler=rude)
    play.listen(OTHER, handler=upper)
    other = play.talk(OTHER)
    for _ in range(3):
        talk = play.talk(TCP)
        talk.free = True
        talk.say(b"x\n")
        play.run()
    other.say(b"x\n", b"X\n")
    play.run()


def crowded(play: Play) -> None:
    """A listener that is full, and one that refuses a peer's second connection."""
    play.listen(TCP, handler=upper, limits=Limits(connections=1))
    play.listen(OTHER, handler=upper, limits=Limits(connections_per_peer=1))
    play.listen(SECOND, handler=upper)
    for _ in range(3):
        one, two = play.talk(TCP), play.talk(TCP)
        kept, refused = play.talk(OTHER), play.talk(OTHER)
        refused.free = True
        for talk in (one, two, kept):
            talk.say(b"x\n", b"X\n")
        kept.free = True  # if the first one is lost, the second is the one that is kept
        play.run()
        for talk in (one, two, kept):
            talk.client.send_eof()
            talk.ends = "eof"
            play.run()


def few_descriptors(play: Play) -> None:
    """Room for one connection only (`KEYWORDS`)."""
    play.listen(TCP, handler=upper)
    for _ in range(2):
        first, second = play.talk(TCP), play.talk(TCP)
        for talk in (first, second):
            talk.say(b"x\n", b"X\n")
            talk.client.send_eof()
            talk.ends = "eof"
        play.run()
        play.advance(1.0)


def refusing(play: Play) -> None:
    """Room for one connection only, and it stays: those who wait are closed, and the next is served."""
    play.listen(TCP, handler=upper)
    stays = play.talk(TCP)
    stays.say(b"x\n", b"X\n")
    play.run()  # it is the first to arrive, however long it takes
    for _ in range(2):
        play.talk(TCP).free = True
    play.advance(3.0)
    late = play.talk(TCP)
    late.free = True
    play.run()
    play.world.process.limit += 2  # no row of this loop has given these back
    play.advance(1.0)
    stays.say(b"y\n", b"Y\n")
    last = play.talk(TCP)
    last.free = any(hit.fault.key[0] == "reserve" for hit in play.plan.hits)  # then another one may have had its place
    last.say(b"z\n", b"Z\n")
    play.run()


def woken(play: Play) -> None:
    """Calls that are posted while the loop sleeps."""
    try:
        play.world.reactor._make_waker()
    except OSError as error:
        if not play.plan.caused(error):
            raise
        play.world.reactor._make_waker()
    play.listen(TCP, handler=upper)
    heard: list[int] = []
    for number in range(3):
        play.world.reactor.call_soon(heard.append, number)
        play.run()
    assert heard == [0, 1, 2]
    play.talk(TCP).say(b"x\n", b"X\n")
    play.run()


def draining(play: Play) -> None:
    play.listen(TCP, handler=upper)
    play.listen(UNIX, handler=upper)
    play.listen(UDP, handler=twice)
    play.listen(OTHER, hosted(TCPServer, UpperAll, framing=Lines()))
    quiet, busy, late, framed = (play.talk(at) for at in (TCP, TCP, UNIX, OTHER))
    for talk in (busy, late):
        talk.say(b"half", b"")
    framed.say(b"one\n", b"ONE\n")
    play.advance(2.0)  # a listener that has paused goes on: what it has not accepted at a drain is reset
    quiet.ends = busy.ends = framed.ends = "eof"
    late.free = True
    play.stop(5.0)
    busy.say(b" done\n", b"HALF DONE\n")
    play.run()
    play.advance(6.0)


def recorded(play: Play) -> None:
    """Rows with a recorder between them and their sockets."""
    loop = play.world.reactor
    observers = [play.census] if play.watched else []
    loop.observer = Observers([*observers, Recorder(None, ends=BAD_ENDS)], loop._observer_failed)
    play.listen(TCP, handler=half)
    play.listen(UDP, handler=twice)
    play.listen(UNIX_PACKETS, handler=twice)
    for talk in _two(play, TCP):
        talk.say(b"word\n", b"word\n")
        talk.ends = "eof"
        play.run()
        talk.client.send_eof()
        play.run()
        play.packet(UDP, b"x", [b"x", b"X"])
        play.packet(UNIX_PACKETS, b"y", [b"y", b"Y"])


SCENARIOS: dict[str, Callable[[Play], None]] = {
    each.__name__: each
    for each in (
        echo, raw, half_requests, framed, framed_all, framed_raw, inline, packets, connect_ask_close, slow_reader,
        half_close, lingering, aborting, crowded, few_descriptors, refusing, woken, draining,
        curious, failing_hooks, behind_our_back, stale_path, recorded, guarded,
    )
}  # fmt: skip
KEYWORDS: dict[str, dict[str, Any]] = {"few_descriptors": {"descriptors": 6}, "refusing": {"descriptors": 6}}
