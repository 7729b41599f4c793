"""Making stock handlers: what `__init__`, `setup` and `finish` of socketserver's handlers do, in the loop's own words.

What it is: the short way of `FramedRow.deliver`. A handler whose class has overridden none of the three is made here without
calling them, and so are its two files: those calls were three quarters of what a framed line cost. What it is not: a
decision; `stock_handlers` says which classes are stock, anew in every turn. The long way, through the hooks of the server,
stays the definition. See ADR 0021.

Rules:

1. Every frame has a handler of its own, with the same attributes in the same order as ever.
2. Its two files are used again for the next frame if nobody can tell: nobody else refers to them, nothing was noted on
   them, no dict or set was asked for them, and they were neither closed nor read in a rarer way. Else they are closed, as
   `finish` leaves them. Who has a bare weak reference can tell, but only among lines of one connection that came together.
3. A handler that has put another file in the place of one gets its own `finish`, and so does one that fails.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable
from typing import Any, TypeAlias

from .phases import End, Phase
from .quick_files import ReplyWriter, UnreadFile, reply_writer, unread_file

Files: TypeAlias = tuple[UnreadFile, ReplyWriter, dict[str, Any], dict[str, Any], float]
_IDLE = Phase.IDLE  # as in `streams`
_new = object.__new__
# References. Another Python may not count them; then no file is used again, for that is not equal to itself.
_counts: Callable[[object], float] = getattr(sys, "getrefcount", lambda _: float("nan"))
_weak_counts = weakref.getweakrefcount


def serve_frames(row: Any, stock: Any, frame: bytes, ahead: Any) -> None:
    """Make a handler for the frame, then for those in `ahead`, the next one last; a call in between is 4 % of a line."""
    kind, server, has_files, timeout_s = stock.made_with
    files, stock.files = stock.files or _new_files(row, stock), None
    file, writer, on_file, on_writer, alone = files
    row.file, writer._sock = file, row
    while True:
        row.wrote = file.past_end = False
        file.frame = file.unread = frame
        try:
            if timeout_s is not None:
                row.settimeout(timeout_s)
            handler = _new(kind)
            handler.request = row
            handler.client_address = row.sockaddr
            handler.server = server
            if has_files:
                handler.connection, handler.rfile, handler.wfile = row, file, writer
            try:
                outcome = handler.handle()
                if outcome is not None:
                    _look_at(outcome, handler)
                has_others = has_files and (handler.rfile is not file or handler.wfile is not writer)
            except BaseException:
                handler.finish()
                raise
            if has_others:
                handler.finish()
        except BaseException as error:
            _failed(row, file, error)
        finally:
            handler, past_end = None, row.file.past_end
            if _counts(file) + _counts(writer) != alone or on_file or on_writer or file.unread is None or writer.closed:
                _close(row, file, writer)
                files = file, writer, on_file, on_writer, alone = _new_files(row, stock)
        if row.end is not None or not past_end:
            row.reader = None  # nobody waits any more
            row.finish(End.FINISHED)
            break
        if not row.wrote:
            row.host.warn_of_hunger(row)
        if not ahead or row.framing is not stock.framing or server.RequestHandlerClass is not kind:
            row.since = row.loop.now
            if row.phase is not _IDLE:
                row.goes_idle()
            break
        frame = ahead.pop()
    file.frame, row.file, writer._sock = b"", None, None
    if not (_weak_counts(file) or _weak_counts(writer)):  # (for each frame this would be 6 % of a line)
        stock.files = files


def _new_files(row: Any, stock: Any) -> Files:
    """Return an rfile, a wfile, what programs note on them, and how often both are referred to while no handler has them."""
    file, writer = unread_file(stock.file_kind), reply_writer()
    row.file, writer._sock = file, row
    both = file, writer  # as the caller will have them: in a tuple and by name
    alone = _counts(file) + _counts(writer)
    return *both, file.__dict__, writer.__dict__, alone


def _close(row: Any, file: Any, writer: Any) -> None:
    """Leave them as `finish` does."""
    row.file.close()  # it may be another one, for who reads on when one was closed
    file.close()
    writer.close()


def _look_at(outcome: Any, handler: Any) -> None:
    """What `handle` should not have returned: ours looks whether it was a coroutine, the standard module's does not."""
    if hasattr(handler, "_refuse_coroutine"):
        handler._refuse_coroutine(outcome)


def _failed(row: Any, file: Any, error: BaseException) -> None:
    try:
        row.host.failed(row, error)
    finally:
        file.close()
