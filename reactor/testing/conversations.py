"""One conversation with a handler, in a world of its own: what it is told, in which pieces, and what it answers.

What it is: `converse`, on which everything that tries splits stands, and `talk`, the short way to test a handler. What it
is not: a check; see `splits`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ..base_server import BaseServer
from ..framing import Framing
from ..servers import TCPServer
from .faults import NO_FAULTS, Faults
from .simulation import Simulation

ENDPOINT = "tcp://127.0.0.1:1024"

# A coroutine function that takes a stream, or a handler class of socketserver's kind.
Handler = Callable[..., Any]


@dataclass(frozen=True)
class Outcome:
    """What came of a conversation.

    Attributes:
        output: what the handler sent.
        ended: how its side ended: "" if it did not.
        error: the type of what it raised; "" for nothing.
        cause: what it raised, which two conversations need not have in common.
    """

    output: bytes
    ended: str
    error: str
    cause: BaseException | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        how = {"": "left open", "eof": "closed", "reset": "reset"}[self.ended]
        return f"{self.output!r}, then {how}{', ' + self.error + ' raised' if self.error else ''}"


class HostedServer(TCPServer):
    """A server on a simulated socket, for a handler class; what its handler raises leaves the loop."""

    def __init__(self, sock: Any, handler: Handler) -> None:
        BaseServer.__init__(self, sock.getsockname(), handler)
        self.socket = sock

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Raise it again: a strict reactor lets it pass, instead of text on stderr."""
        raise  # it is called where the exception is caught


def serve(world: Simulation, handler: Handler, framing: Framing[Any] | None = None) -> str:
    """Serve a handler in a simulation, and return its endpoint.

    Raises:
        BlockingHandlerError: an ordinary handler class, and nobody says its framing.
    """
    if inspect.iscoroutinefunction(handler) and framing is None:
        world.reactor.listen(ENDPOINT, handler)
    else:
        sock = world.reactor._socket_at(ENDPOINT, world.reactor.limits.backlog)
        try:
            server: Any = HostedServer(sock, handler)
            world.reactor.add(server, framing=framing, name=getattr(handler, "__name__", "handler"))
        except BaseException:
            sock.close()
            raise
    return ENDPOINT


def converse(
    handler: Handler,
    pieces: Sequence[bytes],
    *,
    framing: Framing[Any] | None = None,
    end: Literal["with", "after", "no"] = "with",
    faults: Faults = NO_FAULTS,
    seed: int = 0,
    at_once: bool = False,
    reads_late: bool = False,
) -> tuple[Outcome, Simulation]:
    """Tell a handler some bytes piece by piece.

    Args:
        handler: it.
        pieces: what it is told; it has done what it can with one when the next one comes.
        framing: for an ordinary handler class.
        end: the end of the stream comes with the last piece, after it, or not at all.
        faults: what goes wrong.
        seed: of the simulation.
        at_once: send every piece without waiting for what the handler does.
        reads_late: read nothing of the answer before everything is said.

    Returns:
        What came of it, and the closed simulation, whose trace may be of interest.
    """
    errors: list[BaseException] = []
    world = Simulation(seed, faults=faults)
    try:
        endpoint = serve(world, handler, framing)
        client = world.connect(endpoint)
        if reads_late:
            client.stop_reading()
        for number, piece in enumerate(pieces):
            client.send(piece)
            if not at_once and (end != "with" or number < len(pieces) - 1):
                _run(world, errors)
        if end != "no":
            client.send_eof()
        _run(world, errors)
        if reads_late:
            client.go_on_reading()
            _run(world, errors)
        cause = errors[0] if errors else None
        outcome = Outcome(client.take(), client.ended, type(cause).__name__ if cause else "", cause)
    finally:
        _close(world, errors)
    return outcome, world


def _run(world: Simulation, errors: list[BaseException]) -> None:
    """Run until all is quiet, whatever the handler raises: a loop that was left can be run again."""
    while True:
        try:
            world.run_until_quiet()
        except AssertionError:
            raise  # of the simulation: the loop spins, or waits for ever
        except Exception as error:
            errors.append(error)
        else:
            return


def _close(world: Simulation, errors: list[BaseException]) -> None:
    try:
        world.close()
    except AssertionError:
        raise
    except Exception as error:  # of a handler that hears of the end
        errors.append(error)


def talk(handler: Handler, data: bytes, *, framing: Framing[Any] | None = None, eof: bool = True) -> bytes:
    """Tell a handler some bytes and return what it answers: no port, no thread, no sleep.

    Args:
        handler: a coroutine function or a handler class.
        data: what it is told, all at once.
        framing: for an ordinary handler class.
        eof: the end of the stream follows.

    Raises:
        Exception: what the handler raises, with a trace of the conversation.
    """
    with Simulation() as world:
        client = world.connect(serve(world, handler, framing))
        client.send(data)
        if eof:
            client.send_eof()
        world.run_until_quiet()
        return client.take()
