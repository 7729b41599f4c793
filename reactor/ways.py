"""Which way a handler runs: a decision of the caller, the server or its classes, in this order.

What it is: `choose`, and the table of ways. What it is not: a guess. The way never depends on what happens to be
installed, no framing is ever assumed, and on a shared loop a blocking handler that nobody has said a way for is an error.

    coroutine   an AsyncStreamRequestHandler
    framed      an ordinary handler, once for each whole frame: its server, its class or the caller names a framing
    greenlet    an ordinary handler in a greenlet for each connection (the extra `greenlet`)
    inline      an ordinary handler in the loop's own thread: exactly socketserver, and it holds the loop
    thread      an ordinary handler in a new thread (ThreadingMixIn)
    fork        an ordinary handler in a new process (ForkingMixIn)
"""

from __future__ import annotations

import functools
import importlib
import socket
from typing import Any, Literal, NamedTuple, TypeAlias

from .async_handlers import AsyncStreamRequestHandler
from .errors import BlockingHandlerError, MissingExtraError
from .framing import Framing

Way: TypeAlias = Literal["coroutine", "framed", "greenlet", "inline", "thread", "fork"]
WAYS = ("coroutine", "framed", "greenlet", "inline", "thread", "fork")


class Choice(NamedTuple):
    """How a handler runs; with a framing if that is `framed`. A way that nobody has said is assumed."""

    way: Way
    framing: Framing[Any] | None = None
    assumed: bool = False


def choose(server: Any, way: Way | None, framing: Framing[Any] | None, name: str) -> Choice:
    """Return how the handler of `server` runs.

    Args:
        server: its attributes `way` and `framing`, its mixin and its handler's `framing` count, in this order.
        way: what the caller says; it goes before all that.
        framing: the same; a framing means `framed`.
        name: for the errors.

    Raises:
        BlockingHandlerError: nobody says it, and on a shared loop it cannot be guessed.
        MissingExtraError: the way needs a package that is not installed.
        ValueError: there is no such way, or the handler cannot run in it.
    """
    if framing is not None and way not in (None, "framed"):
        raise ValueError(f'{name}: framing= makes way="framed", not {way!r}; drop one of the two')
    said = way or ("framed" if framing is not None else None) or _said_by(server, name)
    is_coroutine = is_coroutine_handler(server.RequestHandlerClass)
    if said is None and not is_coroutine and _is_stream(server):
        said = getattr(server, "way_if_plain", None)
        if said is None:
            raise _nobody_says(server, name)
    if said is not None and said not in WAYS:
        raise ValueError(f"way={said!r} for {name}: one of {', '.join(WAYS)}")
    if is_coroutine:
        return _coroutine(server, said, name)
    if said == "coroutine":
        raise ValueError(
            f"{name}: {server.RequestHandlerClass!r} is no coroutine; derive it from AsyncStreamRequestHandler"
        )
    if said == "framed":
        return _framed(server, framing, name)
    if said == "greenlet":
        _require_greenlets(server, name)
    # One packet in, one out: there is no client to wait for, and no answer waits for one (`guests.Answers`).
    return Choice("inline", assumed=True) if said is None else Choice(said)


def is_coroutine_handler(handler: Any) -> bool:
    """Is it a class whose `handle` the loop drives?"""
    return isinstance(handler, type) and issubclass(handler, AsyncStreamRequestHandler)


def _said_by(server: Any, name: str) -> Any:
    """Return what the server itself says, by attribute or by mixin."""
    way = getattr(server, "way", None)
    if way is not None:
        return way
    if getattr(server, "framing", None) is not None:
        return "framed"
    if hasattr(server, "process_request_thread"):
        return "thread"
    if hasattr(server, "collect_children"):
        return "fork"
    return "framed" if _is_framing(getattr(_handler_of(server), "framing", None)) else None


def _handler_of(server: Any) -> Any:
    """Return the handler class itself: http.server binds a directory to its own with functools.partial."""
    handler = server.RequestHandlerClass
    while isinstance(handler, functools.partial):
        handler = handler.func
    return handler


def _is_stream(server: Any) -> bool:
    return getattr(getattr(server, "socket", None), "type", None) == socket.SOCK_STREAM


def _is_framing(value: Any) -> bool:
    return isinstance(value, Framing)  # some handler of a user's may have a `framing` that means something else


def _coroutine(server: Any, said: Any, name: str) -> Choice:
    handler = server.RequestHandlerClass
    if said not in (None, "coroutine"):
        raise ValueError(
            f"{name}: {handler!r} is a coroutine and cannot run as {said!r}: drop way=, framing= or the mixin"
        )
    if getattr(getattr(server, "socket", None), "type", None) == socket.SOCK_DGRAM:
        raise TypeError(f"{name}: packets make no stream; use loop.listen(endpoint, function) for {handler!r}")
    return Choice("coroutine")


def _framed(server: Any, framing: Any, name: str) -> Choice:
    if hasattr(getattr(server, "socket", None), "do_handshake"):
        raise ValueError(f'{name}: its socket speaks TLS, which is not cut into frames here; use way="greenlet" or "thread"')
    if not _is_stream(server):
        raise ValueError(f"{name}: only streams are cut into frames, and a packet is one already; drop framing=")
    for owner in (server, _handler_of(server)):
        framing = framing if framing is not None else getattr(owner, "framing", None)
    framing = framing if framing is not None else getattr(server, "framing_if_plain", None)
    if not _is_framing(framing):
        raise ValueError(
            f'{name}: way="framed" needs a framing, not {framing!r}: framing=Lines(), or HttpRequests() for a handler '
            "of http.server"
        )
    if not framing.encodes:
        raise ValueError(f"{name}: {framing!r} has no encode(), which gives a blocking handler its frame as bytes")
    return Choice("framed", framing)


def _require_greenlets(server: Any, name: str) -> None:
    if not _is_stream(server):
        raise ValueError(f'{name}: a packet is there as a whole, so way="greenlet" has nothing to wait for; drop it')
    try:
        importlib.import_module("greenlet")
    except ImportError as error:
        raise MissingExtraError(
            f"{name}: way=\"greenlet\" needs the package greenlet: pip install 'socketreactor[greenlet]'"
        ) from error


def _nobody_says(server: Any, name: str) -> BlockingHandlerError:
    return BlockingHandlerError(
        f"{name}: {server.RequestHandlerClass!r} blocks, and one silent client would stop every other row of this "
        'loop; choose: framing=... (HttpRequests() for http.server), way="greenlet" (the extra greenlet), way="thread" '
        '(or ThreadingMixIn), way="fork" (or ForkingMixIn), an AsyncStreamRequestHandler with `async def handle`, or '
        'way="inline" if it may hold the loop'
    )
