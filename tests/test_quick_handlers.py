"""Handlers that the loop makes itself: nobody can tell, neither from the handler nor from its files; and which it makes."""

import functools
import io
import logging
import socket
import socketserver as standard
import sys
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from reactor import End, Lines, Raw, Reactor, quick_handlers
from reactor import socketserver as ours
from reactor.stock_handlers import StockHandlers
from reactor.table import READ
from tests.driving import ask, only, receive, receive_all, streams, turn_until, turns

ENDPOINT = "tcp://127.0.0.1:0"
MODULES = {"ours": ours, "standard": standard}
each_module = pytest.mark.parametrize("module", MODULES.values(), ids=MODULES)


def lines(function: Callable[[Any], object], module: Any = ours, **attributes: Any) -> Any:
    """Return a handler class whose `handle` calls a function with the handler."""
    return type("Handler", (module.StreamRequestHandler,), {"handle": lambda self: function(self) and None, **attributes})


def by_its_own_init(kind: Any) -> Any:
    """Return a class whose handlers are made by calling it, for it has an `__init__` that does nothing more."""
    return type("Own", (kind,), {"__init__": lambda self, *args: kind.__init__(self, *args)})


WAYS: dict[str, Callable[[Any], Any]] = {"quick": lambda kind: kind, "called": by_its_own_init}
either_way = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


def serving(loop: Reactor, kind: Any, framing: Any = None, module: Any = ours, **attributes: Any) -> Any:
    """Add a server with a framed handler, which it closes at its end."""
    server = type("Server", (module.TCPServer,), attributes)(("127.0.0.1", 0), kind)
    loop.farewells.append(server.server_close)
    return server, loop.add(server, framing=framing or Lines())


def echo(handler: Any) -> None:
    for line in handler.rfile:
        handler.wfile.write(line)


# -- the handler ----------------------------------------------------------------------------------------------------------


@either_way
@each_module
@pytest.mark.parametrize("base", ["StreamRequestHandler", "BaseRequestHandler"])
def test_a_handler_has_the_same_attributes(loop: Reactor, connect: Any, way: Any, module: Any, base: str) -> None:
    seen: list[Any] = []

    class Handler(getattr(module, base)):  # type: ignore[misc]
        def handle(self) -> None:
            seen.append((self, list(vars(self))))
            while data := self.request.recv(100):
                self.request.sendall(data)

    server, listener = serving(loop, way(Handler), module=module)
    client = connect(listener)
    ask(loop, client, b"a\nb\n", b"a\nb\n")
    row = only(loop)
    files = ["connection", "rfile", "wfile"] if base == "StreamRequestHandler" else []
    assert [names for _, names in seen] == [["request", "client_address", "server", *files]] * 2
    first, second = (handler for handler, _ in seen)
    assert first is not second
    assert (first.request, first.client_address, first.server) == (row, client.getsockname(), server)
    if files:
        assert first.connection is row
        assert isinstance(first.rfile, io.BufferedIOBase)
        assert isinstance(first.wfile, io.BufferedIOBase)


@pytest.mark.usefixtures("capsys")
@either_way
def test_a_coroutine_is_refused(loop: Reactor, connect: Any, way: Any) -> None:
    async def nothing() -> None:
        pass

    kind = type("Handler", (ours.StreamRequestHandler,), {"handle": lambda self: nothing()})
    client = connect(serving(loop, way(kind))[1])
    client.sendall(b"a\n")
    assert receive_all(loop, client) == b""
    client.close()
    turn_until(loop, lambda: not streams(loop))
    assert loop.table.ended[-1].end is End.HANDLER_FAILED
    assert "coroutine" in loop.table.ended[-1].detail


@either_way
def test_what_else_handle_returns_is_ignored(loop: Reactor, connect: Any, way: Any) -> None:
    for module in MODULES.values():
        kind = type("Handler", (module.StreamRequestHandler,), {"handle": lambda self: echo(self) or "done"})  # type: ignore[attr-defined]
        ask(loop, connect(serving(loop, way(kind))[1]), b"a\nb\n", b"a\nb\n")


@either_way
def test_a_timeout_bounds_the_wait_for_the_next_frame(loop: Reactor, connect: Any, way: Any) -> None:
    client = connect(serving(loop, way(lines(echo, timeout=7)))[1])
    ask(loop, client, b"a\n", b"a\n")
    assert only(loop).limits.idle_s == 7


@either_way
@pytest.mark.parametrize("has_handler", [True, False])
def test_a_failure_is_reported_where_it_was_caught(loop: Reactor, connect: Any, way: Any, has_handler: bool) -> None:
    """And finish has run by then."""
    kept: list[Any] = []
    errors: list[Any] = []

    def handle(handler: Any) -> None:
        kept.append(handler)
        handler.wfile.write(handler.rfile.readline())
        raise ValueError("planned")

    def handle_error(server: Any, request: Any, client_address: Any) -> None:
        errors.append((repr(sys.exc_info()[1]), [handler.rfile.closed and handler.wfile.closed for handler in kept]))

    timeout = None if has_handler else -1  # which is refused when it is set
    _, listener = serving(loop, way(lines(handle, timeout=timeout)), handle_error=handle_error)
    client = connect(listener)
    client.sendall(b"a\nb\n")
    assert receive_all(loop, client) == (b"a\n" if has_handler else b"")
    assert len(errors) == 1
    if has_handler:
        assert errors == [("ValueError('planned')", [True])]
    assert only(loop).end is End.HANDLER_FAILED


@either_way
def test_an_exit_leaves_the_loop(loop: Reactor, connect: Any, way: Any) -> None:
    kept: list[Any] = []

    def handle(handler: Any) -> None:
        kept.append(handler)
        raise SystemExit("planned")

    connect(serving(loop, way(lines(handle)))[1]).sendall(b"a\n")
    with pytest.raises(SystemExit, match="planned"):
        turn_until(loop, lambda: False)
    row = only(loop)
    assert row.end is End.ABORTED
    assert kept[0].rfile.closed
    assert kept[0].wfile.closed


@either_way
@pytest.mark.parametrize("framing", [Lines(), Raw()], ids=["lines", "raw"])
@pytest.mark.parametrize("read", ["readline", "recv"])
@pytest.mark.parametrize("reads_on", [True, False])
def test_who_reads_on_keeps_the_connection_and_who_does_not_ends_it(
    loop: Reactor, connect: Any, way: Any, framing: Any, read: str, reads_on: bool
) -> None:
    def handle(handler: Any) -> None:
        reader = handler.rfile.readline if read == "readline" else lambda: handler.request.recv(100)
        handler.wfile.write(reader())
        if reads_on:
            assert reader() == b""

    client = connect(serving(loop, way(lines(handle)), framing)[1])
    row = only(loop)
    client.sendall(b"a\n")
    if reads_on:
        assert receive(loop, client, 2) == b"a\n"
        ask(loop, client, b"b\n", b"b\n")
        assert row.end is None
    else:
        assert receive_all(loop, client) == b"a\n"
        assert row.end is End.FINISHED


# -- its files ------------------------------------------------------------------------------------------------------------


@either_way
@pytest.mark.parametrize("keep", ["handler", "rfile", "wfile", "readline", "write"])
def test_who_keeps_something_finds_it_closed(loop: Reactor, connect: Any, way: Any, keep: str) -> None:
    kept: list[Any] = []

    def handle(handler: Any) -> None:
        held = {"handler": handler, "readline": handler.rfile.readline, "write": handler.wfile.write}
        kept.append(held.get(keep) or getattr(handler, keep))
        echo(handler)

    client = connect(serving(loop, way(lines(handle)))[1])
    for _ in range(2):  # together, and in another turn
        ask(loop, client, b"a\nb\n", b"a\nb\n")
    assert len(set(map(id, kept))) == 4
    files = [getattr(each, "rfile", getattr(each, "__self__", each)) for each in kept]
    assert len(set(map(id, files))) == 4
    assert all(file.closed for file in files)
    if keep in ("rfile", "readline"):
        with pytest.raises(ValueError, match="closed file"):
            files[0].readline()
    if keep == "handler":
        assert len({id(handler.wfile) for handler in kept}) == 4
        assert all(handler.wfile.closed for handler in kept)


@either_way
def test_who_keeps_wfile_can_write_until_the_end(loop: Reactor, connect: Any, way: Any) -> None:
    kept: list[Any] = []

    def handle(handler: Any) -> None:
        kept.append(handler.wfile)
        echo(handler)

    client = connect(serving(loop, way(lines(handle)))[1])
    ask(loop, client, b"a\n", b"a\n")
    assert kept[0].write(b"more\n") == 5
    assert receive(loop, client, 5) == b"more\n"
    only(loop).close()
    with pytest.raises(BrokenPipeError):
        kept[0].write(b"too late")


@either_way
@pytest.mark.parametrize("name", ["rfile", "wfile"])
def test_what_is_noted_on_a_file_does_not_survive(loop: Reactor, connect: Any, way: Any, name: str) -> None:
    notes: list[Any] = []

    def handle(handler: Any) -> None:
        file = getattr(handler, name)
        notes.append(getattr(file, "note", None))
        file.note = "mine"
        echo(handler)

    client = connect(serving(loop, way(lines(handle)))[1])
    ask(loop, client, b"a\nb\n", b"a\nb\n")
    ask(loop, client, b"c\n", b"c\n")
    assert notes == [None] * 3


@either_way
@pytest.mark.parametrize("name", ["rfile", "wfile"])
def test_a_file_that_a_handler_has_closed_is_open_for_the_next(loop: Reactor, connect: Any, way: Any, name: str) -> None:
    def handle(handler: Any) -> None:
        assert not handler.rfile.closed
        assert not handler.wfile.closed
        echo(handler)
        getattr(handler, name).close()

    client = connect(serving(loop, way(lines(handle)))[1])
    ask(loop, client, b"a\nb\n", b"a\nb\n")
    ask(loop, client, b"c\n", b"c\n")


@either_way
def test_who_reads_on_behind_a_closed_file_keeps_the_connection(loop: Reactor, connect: Any, way: Any) -> None:
    def handle(handler: Any) -> None:
        handler.wfile.write(handler.rfile.readline())
        handler.rfile.close()
        assert handler.request.recv(100) == b""

    client = connect(serving(loop, way(lines(handle)))[1])
    ask(loop, client, b"a\nb\n", b"a\nb\n")
    ask(loop, client, b"c\n", b"c\n")


@either_way
def test_a_file_put_in_the_place_of_wfile_is_flushed(loop: Reactor, connect: Any, way: Any) -> None:
    kept: list[Any] = []  # or the collector would flush it, some time

    def handle(handler: Any) -> None:
        handler.wfile = io.BufferedWriter(handler.wfile)
        kept.append(handler.wfile)
        echo(handler)

    client = connect(serving(loop, way(lines(handle)))[1])
    ask(loop, client, b"a\nb\n", b"a\nb\n")


@either_way
def test_a_file_put_in_the_place_of_rfile_is_closed(loop: Reactor, connect: Any, way: Any) -> None:
    kept: list[Any] = []

    def handle(handler: Any) -> None:
        handler.rfile = io.TextIOWrapper(handler.rfile)
        kept.append(handler.rfile)
        for line in handler.rfile:
            handler.wfile.write(line.encode())

    client = connect(serving(loop, way(lines(handle)))[1])
    ask(loop, client, b"a\nb\n", b"a\nb\n")
    assert [file.closed for file in kept] == [True, True]


@either_way
def test_a_finish_put_into_a_handler_runs(loop: Reactor, connect: Any, way: Any) -> None:
    calls: list[str] = []

    class Handler(ours.StreamRequestHandler):
        def handle(self) -> None:
            self.finish = lambda: calls.append("finish")  # type: ignore[method-assign]
            echo(self)

    client = connect(serving(loop, way(Handler))[1])
    ask(loop, client, b"a\nb\n", b"a\nb\n")
    assert calls == ["finish", "finish"]


@either_way
def test_a_buffer_is_flushed_even_if_the_other_file_was_deleted(loop: Reactor, connect: Any, way: Any) -> None:
    kept: list[Any] = []

    def handle(handler: Any) -> None:
        handler.wfile = io.BufferedWriter(handler.wfile)
        kept.append(handler.wfile)
        handler.wfile.write(b"buffered")
        del handler.rfile

    client = connect(serving(loop, way(lines(handle)), handle_error=lambda *args: None)[1])
    client.sendall(b"a\n")
    assert receive_all(loop, client) == b"buffered"
    client.close()
    turn_until(loop, lambda: not streams(loop))
    assert loop.table.ended[-1].detail.startswith("AttributeError")


def by_decorator(put: Any) -> Any:
    return functools.wraps(put)(lambda self, finish: put(self, finish))


def by_a_function_within(self: Any, finish: Any) -> None:
    def put() -> None:
        self.finish = finish

    put()


def by_itself(self: Any, finish: Any) -> None:
    self.finish = finish


def helper_of_the_module(handler: Any, finish: Any) -> None:
    first = handler.finish
    handler.finish = lambda: (finish(), first())


PUTS: dict[str, Any] = {
    "a helper": lambda self, done: helper_of_the_module(self, done),
    "by itself": by_itself,
    "setattr": lambda self, finish: setattr(self, "finish", finish),
    "vars": lambda self, finish: vars(self).update({"finish": finish}),
    "a function within": by_a_function_within,
    "a decorator": by_decorator(by_itself),
}


@either_way
@pytest.mark.parametrize("put", PUTS.values(), ids=PUTS)
def test_however_a_finish_is_put_into_a_handler_it_runs(loop: Reactor, connect: Any, way: Any, put: Any) -> None:
    calls: list[str] = []

    class Handler(ours.StreamRequestHandler):
        puts = put

        def handle(self) -> None:
            self.puts(lambda: calls.append("done"))
            echo(self)

    client = connect(serving(loop, way(Handler))[1])
    ask(loop, client, b"a\nb\n", b"a\nb\n")
    assert calls == ["done", "done"]


@either_way
def test_who_keeps_a_view_of_its_frame_hurts_nobody(loop: Reactor, connect: Any, way: Any) -> None:
    kept: list[Any] = []

    def handle(handler: Any) -> None:
        kept.append(handler.rfile.getbuffer())
        echo(handler)

    client = connect(serving(loop, way(lines(handle)))[1])
    ask(loop, client, b"a\nb\n", b"a\nb\n")
    assert kept == [b"a\n", b"b\n"]


@each_module
@either_way
def test_a_closed_wfile_is_not_flushed(loop: Reactor, connect: Any, way: Any, module: Any) -> None:
    told: list[str] = []

    def handle(handler: Any) -> None:
        handler.wfile.flush()
        handler.wfile.close()
        try:
            handler.wfile.flush()
        except ValueError as error:
            told.append(str(error))
        handler.request.sendall(handler.rfile.readline())

    client = connect(serving(loop, way(lines(handle, module)), module=module)[1])
    client.sendall(b"a\n")
    assert receive_all(loop, client) == b"a\n"
    assert told == ["I/O operation on closed file."]


@either_way
@pytest.mark.parametrize("together", [True, False])
def test_notes_under_a_file_are_of_one_handler(loop: Reactor, connect: Any, way: Any, together: bool) -> None:
    notes: weakref.WeakKeyDictionary[Any, bytes] = weakref.WeakKeyDictionary()

    def handle(handler: Any) -> None:
        for file in (handler.rfile, handler.wfile):
            assert file not in notes
            notes[file] = b"mine"
        echo(handler)

    _, listener = serving(loop, way(lines(handle)))
    for client in (connect(listener), connect(listener)):
        for line in [b"a\nb\nc\n"] if together else [b"a\n", b"b\n"]:
            ask(loop, client, line, line)


@either_way
def test_a_weak_reference_does_not_outlive_the_connection(loop: Reactor, connect: Any, way: Any) -> None:
    references: list[Any] = []

    def handle(handler: Any) -> None:
        references.extend(weakref.ref(file) for file in (handler.rfile, handler.wfile))
        echo(handler)

    _, listener = serving(loop, way(lines(handle)))
    client = connect(listener)
    ask(loop, client, b"a\n", b"a\n")
    ask(loop, client, b"b\n", b"b\n")
    assert [reference() for reference in references] == [None] * 4


@pytest.mark.parametrize("framing", [Lines(), Raw()], ids=["lines", "raw"])
def test_files_that_nobody_keeps_are_used_again(
    loop: Reactor, connect: Any, monkeypatch: pytest.MonkeyPatch, framing: Any
) -> None:
    """For lines of one event, for the next event and for the next connection."""
    made: list[Any] = []
    stock = quick_handlers.unread_file
    monkeypatch.setattr(quick_handlers, "unread_file", lambda kind: made.append(kind) or stock(kind))

    def handle(handler: Any) -> None:
        while data := handler.request.recv(100):
            handler.wfile.write(data)

    _, listener = serving(loop, lines(handle), framing)
    for client in (connect(listener), connect(listener)):
        for _ in range(2):
            ask(loop, client, b"a\nb\n", b"a\nb\n")
    assert len(made) == 1


def test_files_that_nobody_has_keep_no_row(loop: Reactor, connect: Any) -> None:
    server, listener = serving(loop, lines(echo))
    ask(loop, connect(listener), b"a\n", b"a\n")
    file, writer, *_ = server._host.stock.files
    assert (file.frame, writer._sock, only(loop).file) == (b"", None, None)


def test_without_counts_no_file_is_used_again(loop: Reactor, connect: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quick_handlers, "_counts", lambda _: float("nan"))
    seen: list[int] = []

    def handle(handler: Any) -> None:
        seen.append(id(handler.rfile))
        kept.append(handler.rfile)
        echo(handler)

    kept: list[Any] = []
    client = connect(serving(loop, lines(handle))[1])
    ask(loop, client, b"a\nb\nc\n", b"a\nb\nc\n")
    assert len(set(seen)) == 3


# -- lines that came together ---------------------------------------------------------------------------------------------


@either_way
def test_more_lines_than_a_turn_may_have(loop: Reactor, connect: Any, way: Any) -> None:
    client = connect(serving(loop, way(lines(echo)))[1])
    ask(loop, client, b"a\n", b"a\n")  # the first makes the inbox
    row = only(loop)
    client.sendall(b"a\n" * 100)
    turn_until(loop, lambda: row.requests > 1)
    assert row.requests == 33
    assert receive(loop, client, 200) == b"a\n" * 100
    assert (row.requests, row.inbox_bytes) == (101, 0)


@either_way
def test_lines_that_come_while_the_row_is_paused_wait(loop: Reactor, connect: Any, way: Any) -> None:
    client = connect(serving(loop, way(lines(echo)))[1])
    ask(loop, client, b"a\n", b"a\n")
    row = only(loop)
    row.pause("a test")
    client.sendall(b"b\n")
    row.on_ready(READ)  # as if it was announced in the batch that paused it
    assert (row.requests, row.inbox_bytes) == (1, 2)
    row.resume("a test")
    assert receive(loop, client, 2) == b"b\n"


@either_way
def test_who_has_ended_it_can_write_no_more(loop: Reactor, connect: Any, way: Any) -> None:
    errors: list[Any] = []

    def handle(handler: Any) -> None:
        handler.wfile.write(handler.rfile.readline())
        handler.request.shutdown(socket.SHUT_WR if len(errors) == 0 else socket.SHUT_RDWR)
        with pytest.raises(BrokenPipeError) as raised:
            handler.wfile.write(b"more")
        errors.append(raised)

    _, listener = serving(loop, way(lines(handle)))
    for count in (1, 2):
        client = connect(listener)
        client.sendall(b"a\n")
        assert receive_all(loop, client) == b"a\n"
        assert len(errors) == count


@either_way
def test_replies_to_lines_leave_at_once(loop: Reactor, connect: Any, way: Any) -> None:
    sent: list[list[int]] = []

    def handle(handler: Any) -> None:
        sent.append(sorted(row.bytes_out for row in streams(loop)))
        echo(handler)

    _, listener = serving(loop, way(lines(handle)))
    clients = [connect(listener) for _ in range(2)]
    for client in clients:
        ask(loop, client, b"a\n", b"a\n")  # the first makes the inbox
    sent.clear()
    for client in clients:
        client.sendall(b"a\nb\n")
    turn_until(loop, lambda: len(sent) == 4)
    assert sent == [[2, 2], [2, 2], [2, 6], [2, 6]]


@either_way
def test_a_handler_may_change_what_comes_next(loop: Reactor, connect: Any, way: Any) -> None:
    """Pause, another framing, another class: in the middle of lines that came together."""

    class Loud(ours.StreamRequestHandler):
        def handle(self) -> None:
            for line in self.rfile:
                self.wfile.write(line.upper())

    def handle(handler: Any) -> None:
        for line in handler.rfile:
            handler.wfile.write(line)
            if line == b"pause\n":
                handler.request.pause("a test")
            elif line == b"raw\n":
                handler.request.framing = Raw()
            elif line == b"loud\n":
                handler.server.RequestHandlerClass = Loud

    _, listener = serving(loop, way(lines(handle)))
    client = connect(listener)
    ask(loop, client, b"a\n", b"a\n")
    row = only(loop)
    ask(loop, client, b"a\npause\nb\n", b"a\npause\n")
    turns(loop)
    assert row.requests == 3
    row.resume("a test")
    assert receive(loop, client, 2) == b"b\n"
    ask(loop, client, b"c\nloud\nd\n", b"c\nloud\nD\n")
    client = connect(serving(loop, way(lines(handle)))[1])
    ask(loop, client, b"a\n", b"a\n")
    ask(loop, client, b"raw\nx\ny\n", b"raw\nx\ny\n")
    assert streams(loop)[-1].requests == 3


@either_way
def test_only_who_has_written_nothing_is_warned_of(
    loop: Reactor, connect: Any, way: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def handle(handler: Any) -> None:
        for line in handler.rfile:
            if line != b"hungry\n":
                handler.wfile.write(line)

    client = connect(serving(loop, way(lines(handle)))[1])
    with caplog.at_level(logging.WARNING):
        ask(loop, client, b"a\nb\n", b"a\nb\n")
        assert "had written nothing" not in caplog.text
        ask(loop, client, b"a\nhungry\nb\n", b"a\nb\n")
        assert caplog.text.count("had written nothing") == 1


# -- which are stock ------------------------------------------------------------------------------------------------------


class Raises:
    """A descriptor that wants to be asked of an instance."""

    def __get__(self, instance: Any, kind: Any) -> Any:
        if instance is None:
            raise LookupError("of the class")
        return 7


def own(module: Any) -> dict[str, Any]:
    """Handler classes that do something of their own."""
    stream: Any = module.StreamRequestHandler

    def derived(**attributes: Any) -> Any:
        return type("Own", (stream,), {"handle": echo, **attributes})

    class Slotted(type):
        pass

    def speaks(self: Any) -> None:
        self.finish()

    return {
        "__init__": derived(__init__=lambda self, *args: stream.__init__(self, *args)),
        "__new__": derived(__new__=lambda cls, *args: object.__new__(cls)),
        "__del__": derived(__del__=lambda self: None),
        "__setattr__": derived(__setattr__=lambda self, name, value: object.__setattr__(self, name, value)),
        "__getattribute__": derived(__getattribute__=lambda self, name: object.__getattribute__(self, name)),
        "setup": derived(setup=lambda self: stream.setup(self)),
        "finish": derived(finish=lambda self: stream.finish(self)),
        "a property": derived(connection=property(lambda self: self.request, lambda self, value: None)),
        "a metaclass": Slotted("Own", (stream,), {"handle": echo}),
        "speaks of finish": derived(end=speaks),
        "a buffer": derived(wbufsize=-1),
        "a timeout of the instance": derived(timeout=property(lambda self: 7)),
        "raises when it is looked at": derived(timeout=Raises()),
        "datagrams": module.DatagramRequestHandler,
        "a function": lambda *args: None,
    }


def looked_at(kind: Any, family: Any = socket.AF_INET, framing: Any = None, **how: Any) -> StockHandlers:
    server = object.__new__(ours.TCPServer)
    server.RequestHandlerClass = kind
    server.socket = type("Socket", (), {"family": family})
    stock = StockHandlers(server, framing or Lines(), True, **{"ever": True, **how})
    stock.look(1)
    return stock


@each_module
def test_who_does_something_of_its_own_is_called(module: Any) -> None:
    assert {name: looked_at(kind).kind for name, kind in own(module).items()} == dict.fromkeys(own(module))


@each_module
def test_stock_handlers(module: Any) -> None:
    stream = type("Stock", (module.StreamRequestHandler,), {"handle": echo})
    base = type("Stock", (module.BaseRequestHandler,), {"handle": echo})
    assert (looked_at(stream).kind, looked_at(stream).has_files) == (stream, True)
    assert (looked_at(base).kind, looked_at(base).has_files) == (base, False)
    quick = type("Quick", (stream,), {"disable_nagle_algorithm": True})
    assert looked_at(quick).kind is quick
    assert looked_at(quick, family=-1).kind is None  # setup would fail there
    assert looked_at(stream, ever=False).kind is None
    assert looked_at(stream, framing=Lines(keep_end=False)).kind is None


CHANGES: dict[str, Callable[[Any, Any], object]] = {
    "setup": lambda server, kind: setattr(kind, "setup", lambda self: type(self).__mro__[1].setup(self)),
    "finish": lambda server, kind: setattr(kind, "finish", lambda self: type(self).__mro__[1].finish(self)),
    "__init__": lambda server, kind: setattr(kind, "__init__", lambda *args: type(args[0]).__mro__[1].__init__(*args)),
    "wbufsize": lambda server, kind: setattr(kind, "wbufsize", 100),
    "finish_request": lambda server, kind: setattr(server, "finish_request", lambda *args: kind(*args, server)),
    "process_request": lambda server, kind: setattr(server, "process_request", lambda *args: kind(*args, server)),
    "RequestHandlerClass": lambda server, kind: setattr(server, "RequestHandlerClass", lambda *args: kind(*args)),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_changes_while_the_program_runs_is_seen(
    loop: Reactor, connect: Any, monkeypatch: pytest.MonkeyPatch, change: Any
) -> None:
    served: list[Any] = []
    stock = quick_handlers.serve_frames
    monkeypatch.setattr("reactor.framed.serve_frames", lambda *args: served.append(args) or stock(*args))
    kind = lines(echo)
    server, listener = serving(loop, kind)
    client = connect(listener)
    ask(loop, client, b"a\n", b"a\n")
    assert len(served) == 1
    change(server, kind)
    ask(loop, client, b"b\nc\n", b"b\nc\n")
    assert len(served) == 1


@each_module
def test_code_that_is_of_no_module_is_the_programs(loop: Reactor, connect: Any, module: Any) -> None:
    """As that which `exec` has run in a dict of its own."""
    scope = {"Base": module.StreamRequestHandler, "Server": module.TCPServer}
    exec(
        "class Handler(Base):\n"
        "    def handle(self):\n"
        "        for line in self.rfile: self.wfile.write(line)\n"
        "class Own(Server):\n"
        "    def finish_request(self, request, client_address): self.RequestHandlerClass(request, client_address, self)\n",
        scope,
    )
    for server_class in (module.TCPServer, scope["Own"]):
        server = server_class(("127.0.0.1", 0), scope["Handler"])
        loop.farewells.append(server.server_close)
        client = connect(loop.add(server, framing=Lines()))
        ask(loop, client, b"a\nb\n", b"a\nb\n")


def test_who_is_stock_again_is_made_quickly_again(
    loop: Reactor, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = lines(echo)
    server, listener = serving(loop, kind)
    client = connect(listener)
    ask(loop, client, b"a\n", b"a\n")
    with monkeypatch.context() as patched:
        patched.setattr(server, "finish_request", lambda *args: kind(*args, server), raising=False)
        ask(loop, client, b"b\n", b"b\n")
        assert server._host.stock.kind is None
    ask(loop, client, b"c\n", b"c\n")
    assert server._host.stock.kind is kind


# -- the hooks of the end -------------------------------------------------------------------------------------------------


@each_module
@pytest.mark.parametrize("name", ["shutdown_request", "close_request"])
def test_a_hook_of_the_end_that_is_put_in_its_place_later_is_called(
    loop: Reactor, connect: Any, module: Any, name: str
) -> None:
    calls: list[Any] = []
    server, listener = serving(loop, lines(lambda handler: handler.wfile.write(handler.rfile.readline())), module=module)
    for expected in (0, 1):
        client = connect(listener)
        client.sendall(b"a\n")
        assert receive_all(loop, client) == b"a\n"
        client.close()
        turn_until(loop, lambda: not streams(loop))
        assert len(calls) == expected
        setattr(server, name, calls.append)
