"""What peers ask, and what they must be answered: the model that the engine is held against.

What it is: pure functions of a request. What it is not: aware of connections or time; whoever uses it decides how much of
the answer can have come. A request is `name verb amount padding`; the name is that of the peer and a number, and is all that
its answer is made of, so a byte of another connection cannot be mistaken for one's own.
"""

from __future__ import annotations

from typing import NamedTuple

# How requests and answers lie on the wire.
LINES, PREFIXED, MIXED, HTTP = "lines", "prefixed", "mixed", "http"

# After these the handler answers nothing any more.
LAST = frozenset({"leave", "close", "fail", "abort", "half", "stop", "huge", "garbled"})
# ... and these are not answered themselves.
UNANSWERED = frozenset({"abort", "huge", "garbled"})
PIECES = 3


class Ask(NamedTuple):
    """A request: what the handler shall do, how much of it, and so many bytes of padding."""

    verb: str
    amount: float
    padding: int


def request(form: str, name: str, ask: Ask) -> bytes:
    """Return a request as it is sent."""
    payload = f"{name} {ask.verb} {ask.amount:g} ".encode() + filler(name, ask.padding)
    if ask.verb == "huge":
        return _too_long(form)
    if form == LINES:
        return payload + b"\n"
    if form == PREFIXED:
        return len(payload).to_bytes(4, "big") + payload
    if form == MIXED:
        return b"%d\n" % len(payload) + payload
    head = b"GET /x HTTP/1.1" if len(payload) % 2 else b"POST /x HTTP/1.1"
    close = b"Connection: close\r\n" if ask.verb == "leave" else b""
    return b"%b\r\nHost: x\r\n%bContent-Length: %d\r\n\r\n" % (head, close, len(payload)) + payload


def _too_long(form: str) -> bytes:
    """What no limit allows."""
    if form == PREFIXED:
        return b"\xff" * 4
    if form == HTTP:
        return b"GET / HTTP/1.1\r\nContent-Length: nonsense\r\n\r\n"
    return b"y" * 70000 + b"\n"


def parsed(payload: bytes) -> tuple[str, str, float]:
    """Return name, verb and amount of a request."""
    name, verb, amount, _ = payload.decode().split(" ", 3)
    return name, verb, float(amount)


def bodies(name: str, verb: str, amount: float) -> list[bytes]:
    """Return what a request is answered, in the pieces in which it is written."""
    if verb in UNANSWERED:
        return []
    if verb == "large":
        return [filler(name, int(amount))]
    if verb == "pieces":
        return [filler(f"{name}-{number}", int(amount)) for number in range(PIECES)]
    return [filler(name, 20)]


def answer(form: str, body: bytes) -> bytes:
    """Return a piece of an answer as it is sent."""
    if form == PREFIXED:
        return len(body).to_bytes(4, "big") + body
    if form == HTTP:
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    return body + b"\n"


def filler(name: str, size: int) -> bytes:
    """Return so many bytes that name somebody over and over."""
    word = f"{name}.".encode()
    return (word * (size // len(word) + 1))[:size]
