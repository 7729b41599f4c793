"""The socketserver handler as a coroutine: `async def handle`, two keywords away from the blocking one.

    class Upper(AsyncStreamRequestHandler):
        async def handle(self):
            self.wfile.write((await self.rfile.readline()).upper())

What it is: a class that a server of this library, or `loop.listen`, is given as its RequestHandlerClass. What it is
not: blocking; `rfile` and `wfile` are the stream itself, and so is `request`, which is no socket: the loop owns that.
Rule: `finish` runs even if `handle` raises, not if `setup` raises, as in socketserver.
"""

from __future__ import annotations

import inspect
from typing import Any

from .coroutine_streams import Stream


class AsyncStreamRequestHandler:
    """Handles one connection in a coroutine; derive from it and define `async def handle`.

    Args:
        request: the stream of the connection; the engine closes it after `finish`.
        client_address: the peer's address.
        server: the server that accepted it.

    Raises:
        TypeError: `request` is a socket: the server runs this handler in a blocking way.
    """

    def __init__(self, request: Any, client_address: Any, server: Any) -> None:
        if not isinstance(request, Stream):
            raise TypeError(
                f"{type(self).__name__} is a coroutine handler and needs a Stream, not {request!r}: remove way=, "
                "ThreadingMixIn or ForkingMixIn from its server"
            )
        self.request: Any = request
        self.stream = request
        self.client_address = client_address
        self.server = server
        request.start(self._run())

    @property
    def rfile(self) -> Stream:
        """The stream, under the name that blocking handlers read from."""
        return self.stream

    @property
    def wfile(self) -> Stream:
        """The stream, under the name that blocking handlers write to."""
        return self.stream

    async def setup(self) -> None:
        """Prepare; if it raises, neither `handle` nor `finish` is called."""

    async def handle(self) -> None:
        """Handle the connection; it ends when this returns."""

    async def finish(self) -> None:
        """Clean up after `handle`, however that ended."""

    async def _run(self) -> None:
        await self.setup()
        try:
            await self.handle()
        finally:
            await self.finish()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in ("setup", "handle", "finish"):
            if not inspect.iscoroutinefunction(getattr(cls, name)):
                raise TypeError(f"{cls.__name__}.{name} must be `async def`: {cls.__name__} is a coroutine handler")
