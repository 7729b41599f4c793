"""A server whose handlers run in greenlets, for the tests of that way: each connection goes to a function of its socket."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from reactor import Limits
from reactor import socketserver as ours

LOOPBACK = ("127.0.0.1", 0)


class Server(ours.TCPServer):
    """Handles each connection with a function.

    Attributes:
        errors: what handlers have raised; a test takes what it expects.
        calls: the hooks that were called, in order.
    """

    way = "greenlet"
    allow_reuse_address = True

    def __init__(self, handle: Callable[[Any], object], address: Any = LOOPBACK) -> None:
        self.errors: list[BaseException | None] = []
        self.calls: list[str] = []
        super().__init__(address, lambda request, client_address, server: handle(request))

    def handle_error(self, request: Any, client_address: Any) -> None:
        self.calls.append("handle_error")
        self.errors.append(sys.exc_info()[1])

    def shutdown_request(self, request: Any) -> None:
        self.calls.append("shutdown_request")
        super().shutdown_request(request)
        for error in self.errors:
            assert error is not None
            error.with_traceback(None)  # its frames hold files of the socket, which keep it open


class UnixServer(Server):
    """The same at a path."""

    address_family = ours.UnixStreamServer.address_family if hasattr(ours, "UnixStreamServer") else None


@contextmanager
def serving(loop: Any) -> Iterator[Callable[..., Any]]:
    """Give `serve(handle, kind=Server, **limits)`, which returns a listener; fail if a handler has failed."""
    servers: list[Any] = []

    def serve(handle: Callable[[Any], object], kind: Any = Server, **limits: Any) -> Any:
        server = kind(handle)
        servers.append(server)
        return loop.add(server, limits=Limits(**limits) if limits else None)

    yield serve
    for server in servers:
        assert not server.errors, [repr(error) for error in server.errors]


def took(listener: Any, kind: type[BaseException]) -> BaseException:
    """Take the one error of a listener's handlers, which must be of this kind."""
    (error,) = listener.server.errors
    listener.server.errors.clear()
    assert isinstance(error, kind), repr(error)
    return error
