"""Which handlers are stock: made, set up and finished as socketserver does it, with nothing of the program's in between.

What it is: for a framed server, the answer to whether `quick_handlers` may make its handlers, and what that needs. What it
is not: a guess by names alone; whose a method is, the globals of its function tell, for decorators copy its name.

Rules: a handler class is stock if `__new__`, `__init__`, `setup` and `finish` are socketserver's or ours, its attributes are
set and found in the ordinary way, `wfile` has no buffer, and nothing in it speaks of its `finish` · its server is if
`finish_request`, and `process_request` where it is called, are · both are looked at in every turn of the loop, so what is
put in the place of one while the program runs is called from the next turn on, and another `RequestHandlerClass` from the
next frame on.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import types
from collections.abc import Callable, Iterator
from operator import attrgetter
from typing import Any

from .framing import Framing
from .framings import RAW, Lines
from .hooks import StockHooks
from .quick_files import LineFile, UnreadFile

_OTHERS = sys.stdlib_module_names | {__package__}  # of whom nobody puts a `finish` into a handler
_MODULES = ("socketserver", f"{__package__}.request_handlers")
_STOCK = (
    ["BaseRequestHandler.__init__", "BaseRequestHandler.setup", "BaseRequestHandler.finish"],
    ["BaseRequestHandler.__init__", "StreamRequestHandler.setup", "StreamRequestHandler.finish"],
)
# What may be replaced while the program runs.
_FACTS: Callable[[Any], Any] = attrgetter("__init__", "setup", "finish")
_FACTS_OF_STREAMS: Callable[[Any], Any] = attrgetter(
    "__init__", "setup", "finish", "wbufsize", "timeout", "disable_nagle_algorithm"
)
# What an instance gets; a class that defines one of them (a property, a default) may do more than it seems.
_ATTRIBUTES = ("request", "client_address", "server", "connection", "rfile", "wfile")
_TIMES = (type(None), int, float)
_INET = frozenset({socket.AF_INET, getattr(socket, "AF_INET6", socket.AF_INET)})


class StockHandlers:
    """The handlers of one framed server.

    Args:
        server: the server.
        framing: how its streams are cut.
        processes: its process_request is called for each frame.
        ever: False: there is somebody else who makes its handlers.

    Attributes:
        framing: that framing, if its frames are what the wire had, and either lines or whatever came; else None.
        file_kind: what reads a frame of it.
        kind: the class of handlers if they are stock; else None. See `look`.
        has_files: they are StreamRequestHandlers.
        made_with: kind, server, has_files, and their `timeout`.
        turn, seen: when it was looked, and the RequestHandlerClass there was.
        files: those that no handler has; see `quick_handlers`.
    """

    def __init__(self, server: Any, framing: Framing[Any] | None, processes: bool, *, ever: bool) -> None:
        self.server = server
        is_line = type(framing) is Lines and framing.frames_are_wire
        self.framing = framing if framing is RAW or is_line else None
        self.file_kind = LineFile if is_line else UnreadFile
        self.kind: Any = None
        self.has_files = False
        self.made_with: tuple[Any, Any, bool, float | None] = (None, server, False, None)
        self.turn = -1
        self.seen: Any = None
        self.files: tuple[Any, ...] | None = None
        called = ("finish_request", "process_request") if processes else ("finish_request",)
        self._hooks = StockHooks(server, **{name: f"BaseServer.{name}" for name in called})
        self._ever = ever and self.framing is not None
        self._facts: Callable[[Any], Any] = _FACTS
        self._found: Any = None

    def look(self, turn: int) -> None:
        """Look whether the handlers are stock, and still those that were found before."""
        self.turn, self.seen = turn, self.server.RequestHandlerClass
        if not self._ever:
            return
        try:
            if not self._hooks.are_stock():
                self.kind = self._found = None
            elif self._found is None or self._found[0] is not self.seen or self._found[1] != self._facts(self.seen):
                self._decide(self.seen)
        except Exception:  # of the program's own descriptors; who makes the handler will meet it where it is expected
            self.kind = self._found = None

    def _decide(self, kind: Any) -> None:
        are_stock = _is_stock(kind)
        self.has_files = are_stock and defined_by(kind.setup) == "StreamRequestHandler.setup"
        self._facts = _nothing if not are_stock else _FACTS_OF_STREAMS if self.has_files else _FACTS
        self._found = kind, self._facts(kind)
        if self.has_files:
            # A buffer would have to be flushed, and a socket that has no Nagle's algorithm refuses to be without it.
            family = getattr(getattr(self.server, "socket", None), "family", None)
            are_stock = kind.wbufsize == 0 and (not kind.disable_nagle_algorithm or family in _INET)
            are_stock = are_stock and type(kind.timeout) in _TIMES  # a property is asked of the instance
        self.kind = kind if are_stock else None
        self.made_with = self.kind, self.server, self.has_files, kind.timeout if self.has_files else None


def _is_stock(kind: Any) -> bool:
    """Is it a class whose instances are made as socketserver's own?"""
    return (
        type(kind) is type
        and all(getattr(kind, name) is getattr(object, name) for name in ("__new__", "__setattr__", "__getattribute__"))
        and not any(hasattr(kind, name) for name in ("__del__", *_ATTRIBUTES))
        and [defined_by(getattr(kind, name, None)) for name in ("__init__", "setup", "finish")] in _STOCK
        and not any("finish" in _names(function.__code__) for function in _functions(kind))
    )


def defined_by(function: Any) -> str:
    """Return the name that a method of a handler was defined with; empty if it is of neither socketserver nor ours."""
    is_known = type(function) is types.FunctionType and function.__globals__.get("__name__") in _MODULES
    return str(function.__qualname__) if is_known else ""


def _functions(kind: type) -> Iterator[types.FunctionType]:
    """Yield what the program has defined for its handlers, and what that calls by name: it may put in another `finish`."""
    found = [value for base in kind.__mro__ for value in vars(base).values()]
    seen = set()
    while found:
        value = found.pop()
        if type(value) is types.FunctionType and value not in seen and _is_of_the_program(value):
            seen.add(value)
            yield value
            found.extend(value.__globals__.get(name) for name in _names(value.__code__))  # helpers of its module
            for cell in value.__closure__ or ():  # what a decorator wraps
                with contextlib.suppress(ValueError):  # it is still empty
                    found.append(cell.cell_contents)


def _is_of_the_program(function: types.FunctionType) -> bool:
    module = str(function.__globals__.get("__name__"))
    return module.partition(".")[0] not in _OTHERS


def _names(code: types.CodeType) -> set[Any]:
    """Return the names and the constants in the code, and in the functions within it."""
    inner = (each for each in code.co_consts if type(each) is types.CodeType)
    return {*code.co_names, *(each for each in code.co_consts if type(each) is str)}.union(*map(_names, inner))


def _nothing(_: Any) -> None:
    """Of a class that is not stock nothing is looked at again."""
