"""Whose a hook of a server is: socketserver's, ours, or the program's own.

What it is: how hosts find out what they may do themselves, because the hook would do nothing else. What it is not: a look at
names alone; other modules have a `class TCPServer(TCPServer)`, too, and decorators keep the name of what they wrap.
"""

from __future__ import annotations

import types
from operator import attrgetter
from typing import Any

# The modules that define the servers of socketserver and of this package.
_STOCK = ("socketserver", *(f"{__package__}.{name}" for name in ("base_server", "servers", "mixins")))


def origin(server: Any, name: str) -> str:
    """Return the name that a hook of a server was defined with; empty if it is of neither socketserver nor ours."""
    method = getattr(server, name)
    if type(method) is not types.MethodType or method.__self__ is not server:
        return ""
    function: Any = method.__func__
    is_known = type(function) is types.FunctionType and function.__globals__.get("__name__") in _STOCK
    return str(function.__qualname__) if is_known else ""


def hooks_as_they_are(server: Any, *names: str) -> StockHooks:
    """Return hooks that are stock as long as they are what they are now: until the program puts another in its place."""
    return StockHooks(server, **{name: origin(server, name) for name in names})


class StockHooks:
    """Some hooks of a server, and whether they are stock; may be asked often, for it compares with what it has seen.

    Args:
        server: the server.
        origins: by the name of each, what `origin` has to say of it.
    """

    def __init__(self, server: Any, **origins: str) -> None:
        self._server, self._origins = server, origins
        self._of = attrgetter(*origins)
        self._seen: Any = None
        self._are_stock = False

    def are_stock(self) -> bool:
        """Is none of them the program's own now?"""
        hooks = self._of(self._server)
        if hooks != self._seen:
            self._seen = hooks
            self._are_stock = all(origin(self._server, name) == wanted for name, wanted in self._origins.items())
        return self._are_stock
