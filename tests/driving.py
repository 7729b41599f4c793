"""How the tests of the engine drive a loop: turn by turn, in the test's own thread, with plain blocking client sockets.

Nothing here sleeps. What the kernel does on loopback is nearly always done when the call returns, but only nearly: so a
test waits for the thing itself, for a bounded number of turns.
"""

import selectors
import socket
import struct
from collections.abc import Callable
from typing import Any

from reactor import Limits

# Longest wait of one turn when nothing is ready (s), and how many turns that makes five seconds of.
WAIT_S = 0.01
TURNS = 500
# How long a client waits for its peer before the test fails (s).
CLIENT_S = 5.0
RECEIVE_BYTES = 1 << 18

# Every selector that this platform has; None is the reactor's own choice.
SELECTORS: dict[str, Callable[[], selectors.BaseSelector] | None] = {"default": None}
SELECTORS |= {
    name.removesuffix("Selector").lower(): getattr(selectors, name)
    for name in ("EpollSelector", "PollSelector", "SelectSelector", "KqueueSelector", "DevpollSelector")
    if hasattr(selectors, name)
}


def listen(loop: Any, handler: Any, endpoint: Any = "tcp://127.0.0.1:0", **limits: Any) -> Any:
    """Listen with a handler; keywords are `Limits`."""
    return loop.listen(endpoint, handler, limits=Limits(**limits) if limits else None)


def streams(loop: Any) -> list[Any]:
    """Return the rows of connections, the oldest first."""
    return [row for row in loop.table if row.kind == "stream"]


def only(loop: Any) -> Any:
    """Return the one connection there is, accepting it if it is not there yet."""
    turn_until(loop, lambda: streams(loop))
    (row,) = streams(loop)
    return row


def turn_until(loop: Any, condition: Callable[[], object], turns: int = TURNS) -> int:
    """Step the loop until `condition()` holds; return the number of turns it took, fail after `turns`."""
    for turn in range(turns):
        if condition():
            return turn
        loop.step(WAIT_S)
    assert condition(), f"not within {turns} turns:\n{loop.table}"
    return turns


def until_gone(loop: Any, row: Any) -> None:
    """Step the loop until a row has given its descriptor back."""
    turn_until(loop, lambda: row.fd < 0)


def turns(loop: Any, count: int = 3) -> list[Any]:
    """Step the loop `count` times without waiting."""
    return [loop.step(0) for _ in range(count)]


def receive(loop: Any, client: socket.socket, size: int) -> bytes:
    """Step the loop until the client has received `size` bytes (fewer if the stream ends before)."""
    data = bytearray()
    _receive(loop, client, data, size)
    return bytes(data)


def receive_all(loop: Any, client: socket.socket) -> bytes:
    """Step the loop until the client's stream has ended, and return all that it got; a reset is raised."""
    data = bytearray()
    _receive(loop, client, data, None)
    return bytes(data)


def _receive(loop: Any, client: socket.socket, data: bytearray, size: int | None) -> None:
    """Fill `data` up to `size` bytes (None: any number) or the end of the stream."""
    idle = 0
    client.setblocking(False)
    try:
        while size is None or len(data) < size:
            loop.step(0 if idle < 3 else WAIT_S)
            try:
                piece = client.recv(RECEIVE_BYTES if size is None else min(RECEIVE_BYTES, size - len(data)))
            except BlockingIOError:
                idle += 1
                assert idle < TURNS, f"nothing comes; {len(data)} bytes received:\n{loop.table}"
            else:
                idle = 0
                if not piece:
                    return
                data += piece
    finally:
        client.settimeout(CLIENT_S)


def send_all(loop: Any, client: socket.socket, data: bytes) -> None:
    """Send more than the socket buffers hold, stepping the loop meanwhile."""
    view = memoryview(data)
    client.setblocking(False)
    try:
        idle = 0
        while view:
            try:
                view = view[client.send(view[:RECEIVE_BYTES]) :]
                idle = 0
            except BlockingIOError:
                idle += 1
                assert idle < TURNS, f"{len(view)} bytes are left to send:\n{loop.table}"
                loop.step(WAIT_S)
    finally:
        client.settimeout(CLIENT_S)


def ask(loop: Any, client: socket.socket, request: bytes, reply: bytes) -> None:
    """Send a request and demand this reply."""
    client.sendall(request)
    assert receive(loop, client, len(reply)) == reply


def reset(client: socket.socket) -> None:
    """Close a connection with RST (SO_LINGER of 0 s), as a crashed peer does."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
