"""Which way a handler runs: who decides, in which order, and what the errors say."""

import builtins
import itertools
import socketserver as standard
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from reactor import (
    AsyncStreamRequestHandler,
    BlockingHandlerError,
    Fixed,
    Framing,
    HttpRequests,
    Limits,
    Lines,
    MissingExtraError,
    Need,
    Reactor,
    Until,
)
from reactor import socketserver as ours
from reactor.ways import WAYS, Choice, choose

CALLER, SERVER, HANDLER, FALLBACK = Lines(), Fixed(1), Until(b"."), Fixed(9)


class Handler(ours.StreamRequestHandler):
    pass


class FramedHandler(Handler):
    framing = HANDLER


class AsyncHandler(AsyncStreamRequestHandler):
    async def handle(self) -> None:
        pass


@pytest.fixture
def made() -> Iterator[Any]:
    """Give a function that makes a server of a class with attributes; all are closed at the end."""
    servers = []

    def make(base: Any = ours.TCPServer, handler: Any = Handler, **attributes: Any) -> Any:
        server = type(base.__name__, (base,), attributes)(("127.0.0.1", 0), handler)
        servers.append(server)
        return server

    yield make
    for server in servers:
        server.server_close()


STREAM_WAYS = ("framed", "greenlet", "inline", "thread", "fork")

# -- who decides ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", [ours.TCPServer, standard.TCPServer, ours.ThreadingTCPServer], ids=str)
@pytest.mark.parametrize(
    ("caller", "server", "handler", "chosen"),
    [
        ({"framing": CALLER}, {"framing": SERVER}, FramedHandler, Choice("framed", CALLER)),
        ({"framing": CALLER, "way": "framed"}, {"framing": SERVER}, FramedHandler, Choice("framed", CALLER)),
        ({"framing": CALLER}, {"way": "thread"}, Handler, Choice("framed", CALLER)),
        ({"way": "framed"}, {"framing": SERVER}, FramedHandler, Choice("framed", SERVER)),
        ({"way": "framed"}, {"way": "thread"}, FramedHandler, Choice("framed", HANDLER)),
        ({"way": "inline"}, {"framing": SERVER}, FramedHandler, Choice("inline")),
        ({"way": "greenlet"}, {"framing": SERVER}, FramedHandler, Choice("greenlet")),
        ({}, {"framing": SERVER}, FramedHandler, Choice("framed", SERVER)),
        ({}, {"framing": SERVER, "way": "framed"}, FramedHandler, Choice("framed", SERVER)),
        ({}, {"way": "framed"}, FramedHandler, Choice("framed", HANDLER)),
        ({}, {"way": "inline", "framing": SERVER}, FramedHandler, Choice("inline")),
        ({}, {"way": "greenlet"}, FramedHandler, Choice("greenlet")),
        ({}, {"way": "fork", "way_if_plain": "hope"}, Handler, Choice("fork")),
        ({"way": "framed"}, {"framing_if_plain": FALLBACK}, Handler, Choice("framed", FALLBACK)),
    ],
)
def test_the_caller_goes_before_the_server_and_the_server_before_its_classes(
    made: Any, base: Any, caller: dict[str, Any], server: dict[str, Any], handler: Any, chosen: Choice
) -> None:
    found = choose(made(base, handler, **server), caller.get("way"), caller.get("framing"), "it")
    assert found == chosen
    assert found.framing is chosen.framing


def test_the_mixin_goes_before_the_framing_of_a_handler(made: Any) -> None:
    for base in (ours.ThreadingTCPServer, standard.ThreadingTCPServer):
        assert choose(made(base, FramedHandler), None, None, "it") == Choice("thread")
    if hasattr(ours, "ForkingTCPServer"):
        assert choose(made(ours.ForkingTCPServer, FramedHandler), None, None, "it") == Choice("fork")
        assert choose(made(standard.ForkingTCPServer, FramedHandler), None, None, "it") == Choice("fork")


def test_the_framing_of_a_handler_goes_before_what_a_plain_server_does(made: Any) -> None:
    chosen = choose(made(handler=FramedHandler, way_if_plain="inline"), None, None, "it")
    assert chosen == Choice("framed", HANDLER)
    assert chosen.framing is HANDLER


@pytest.mark.parametrize("way", ["inline", "thread", "fork", "greenlet"])
def test_what_a_plain_server_does(made: Any, way: Any) -> None:
    assert choose(made(way_if_plain=way), None, None, "it") == Choice(way)


def test_a_plain_server_that_is_framed(made: Any) -> None:
    chosen = choose(made(way_if_plain="framed", framing_if_plain=FALLBACK), None, None, "it")
    assert chosen.framing is FALLBACK
    chosen = choose(made(way_if_plain="framed", framing_if_plain=FALLBACK, handler=FramedHandler), None, None, "it")
    assert chosen.framing is HANDLER


def test_a_handler_may_mean_something_else_by_framing(made: Any) -> None:
    picture = type("Picture", (Handler,), {"framing": "gold"})
    with pytest.raises(BlockingHandlerError):
        choose(made(handler=picture), None, None, "it")
    assert choose(made(ours.ThreadingTCPServer, picture), None, None, "it") == Choice("thread")
    assert choose(made(handler=picture), None, CALLER, "it") == Choice("framed", CALLER)


@pytest.mark.parametrize("way", [None, "coroutine"])
@pytest.mark.parametrize("plain", [None, "inline", "thread"])
def test_a_coroutine_is_one_whatever_a_plain_server_does(made: Any, way: Any, plain: Any) -> None:
    assert choose(made(handler=AsyncHandler, way_if_plain=plain), way, None, "it") == Choice("coroutine")


def test_the_ways_are_listed() -> None:
    assert sorted(WAYS) == sorted({"coroutine", *STREAM_WAYS})


# -- packets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", [ours.UDPServer, standard.UDPServer], ids=str)
def test_packets_need_no_decision(made: Any, base: Any) -> None:
    assert choose(made(base), None, None, "it") == Choice("inline", assumed=True)
    for way in ("inline", "thread", "fork"):
        assert choose(made(base), way, None, "it") == Choice(way)  # type: ignore[arg-type]
    assert choose(made(ours.ThreadingUDPServer), None, None, "it") == Choice("thread")
    assert choose(made(base, way_if_plain="greenlet"), None, None, "it") == Choice("inline", assumed=True)


@pytest.mark.parametrize(
    ("caller", "attributes", "handler", "words"),
    [
        ({"framing": CALLER}, {}, Handler, ["only streams", "framing="]),
        ({}, {"framing": SERVER}, Handler, ["only streams", "framing="]),
        ({}, {}, FramedHandler, ["only streams"]),
        ({"way": "framed"}, {}, Handler, ["only streams"]),
        ({"way": "greenlet"}, {}, Handler, ["packet", 'way="greenlet"', "drop it"]),
        ({}, {"way": "greenlet"}, Handler, ["packet", 'way="greenlet"', "drop it"]),
    ],
)
def test_packets_are_neither_cut_nor_waited_for(
    made: Any, caller: dict[str, Any], attributes: dict[str, Any], handler: Any, words: list[str]
) -> None:
    with pytest.raises(ValueError, match="^here: ") as caught:
        choose(made(ours.UDPServer, handler, **attributes), caller.get("way"), caller.get("framing"), "here")
    assert all(word in str(caught.value) for word in words)


def test_packets_are_no_stream_for_a_coroutine(made: Any) -> None:
    with pytest.raises(TypeError, match=r"^here: .*loop\.listen"):
        choose(made(ours.UDPServer, AsyncHandler), None, None, "here")


def test_a_server_without_a_socket_is_no_stream() -> None:
    assert choose(SimpleNamespace(RequestHandlerClass=Handler), None, None, "it") == Choice("inline", assumed=True)


# -- errors -----------------------------------------------------------------------------------------------------------


def test_nobody_says_it(made: Any) -> None:
    with pytest.raises(BlockingHandlerError, match="^here: ") as caught:
        choose(made(), None, None, "here")
    message = str(caught.value)
    ways_out = ["framing=", "HttpRequests()", 'way="greenlet"', 'way="thread"', "ThreadingMixIn", 'way="fork"']
    for word in (*ways_out, "ForkingMixIn", "AsyncStreamRequestHandler", 'way="inline"', "Handler"):
        assert word in message


@pytest.mark.parametrize("way", [way for way in STREAM_WAYS if way != "framed"] + ["coroutine", "no such way"])
def test_a_framing_means_framed(made: Any, way: Any) -> None:
    with pytest.raises(ValueError, match=f"^here: framing=.*{way}.*drop one"):
        choose(made(), way, CALLER, "here")


@pytest.mark.parametrize("where", ["caller", "server", "plain"])
def test_there_is_no_such_way(made: Any, where: str) -> None:
    attributes = {"server": {"way": "hope"}, "plain": {"way_if_plain": "hope"}}.get(where, {})
    with pytest.raises(ValueError, match="hope") as caught:
        choose(made(**attributes), "hope" if where == "caller" else None, None, "here")  # type: ignore[arg-type]
    assert all(way in str(caught.value) for way in WAYS)


@pytest.mark.parametrize("way", STREAM_WAYS)
def test_a_coroutine_cannot_run_otherwise(made: Any, way: Any) -> None:
    for server, caller in ((made(handler=AsyncHandler), way), (made(handler=AsyncHandler, way=way), None)):
        with pytest.raises(ValueError, match=f"^here: .*AsyncHandler.*{way}.*drop"):
            choose(server, caller, None, "here")


@pytest.mark.parametrize(("caller", "attributes"), [(CALLER, {}), (None, {"framing": SERVER})])
def test_a_coroutine_makes_no_frames(made: Any, caller: Any, attributes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="framed"):
        choose(made(handler=AsyncHandler, **attributes), None, caller, "here")


def test_a_blocking_handler_is_no_coroutine(made: Any) -> None:
    for server, caller in ((made(), "coroutine"), (made(way="coroutine"), None), (made(way_if_plain="coroutine"), None)):
        with pytest.raises(ValueError, match="^here: .*no coroutine.*AsyncStreamRequestHandler"):
            choose(server, caller, None, "here")  # type: ignore[arg-type]


@pytest.mark.parametrize("framing", [None, "lines", Lines, 4])
def test_framed_needs_a_framing(made: Any, framing: Any) -> None:
    with pytest.raises(ValueError, match="^here: .*HttpRequests") as caught:
        choose(made(framing=framing, way="framed"), None, None, "here")
    assert repr(framing) in str(caught.value)
    if framing is not None:
        with pytest.raises(ValueError, match="^here: .*HttpRequests"):
            choose(made(), None, framing, "here")


class OneWay(Framing[bytes]):
    def next_frame(self, inbox: Any, eof: bool) -> bytes | Need:
        return Need.more()


@pytest.mark.parametrize("framing", [OneWay(), Lines().map(len), Lines().map(len).map(str, int)])
def test_a_framing_must_have_a_way_back(made: Any, framing: Any) -> None:
    with pytest.raises(ValueError, match=r"^here: .*has no encode\(\)"):
        choose(made(), None, framing, "here")


def test_one_that_is_mapped_both_ways_has_it(made: Any) -> None:
    framing = Lines().map(len, bytes)
    assert choose(made(), None, framing, "here").framing is framing


@pytest.fixture
def no_greenlet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "greenlet", None)


@pytest.mark.usefixtures("no_greenlet")
def test_a_missing_package_is_named_with_the_command_that_installs_it(made: Any) -> None:
    for server, caller in ((made(), "greenlet"), (made(way="greenlet"), None), (made(way_if_plain="greenlet"), None)):
        with pytest.raises(MissingExtraError, match=r"^here: .*pip install 'socketreactor\[greenlet\]'") as caught:
            choose(server, caller, None, "here")  # type: ignore[arg-type]
        assert isinstance(caught.value, ImportError)
        assert isinstance(caught.value.__cause__, ImportError)


@pytest.mark.usefixtures("no_greenlet")
def test_the_way_never_depends_on_what_is_installed(made: Any) -> None:
    assert choose(made(framing=SERVER), None, None, "it") == Choice("framed", SERVER)
    with pytest.raises(BlockingHandlerError):
        choose(made(), None, None, "it")


def test_nothing_is_imported_for_the_other_ways(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_greenlet(name: str, *args: Any, **keywords: Any) -> Any:
        assert name != "greenlet"
        return real(name, *args, **keywords)

    real = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", no_greenlet)
    monkeypatch.delitem(sys.modules, "greenlet", raising=False)
    for way in ("framed", "inline", "thread", "fork"):
        choose(made(framing=SERVER), way, None, "it")  # type: ignore[arg-type]
    assert "greenlet" not in sys.modules


# -- the doors --------------------------------------------------------------------------------------------------------


def test_a_refused_server_leaves_no_trace(made: Any) -> None:
    with Reactor() as loop:
        for server, keywords in itertools.product(
            [made(), made(ours.UDPServer)], [{"framing": OneWay()}, {"way": "coroutine"}, {"framing": "x"}]
        ):
            with pytest.raises(ValueError, match=r"127\.0\.0\.1"):
                loop.add(server, **keywords)
            assert server._host is None
            assert server.fileno() >= 0
        assert not list(loop.table)


def test_a_refused_listener_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    with Reactor() as loop:
        with pytest.raises(BlockingHandlerError, match="way out of it"):
            loop.listen("tcp://127.0.0.1:0", Handler, name="way out of it")
        with pytest.raises(ValueError, match="drop one of the two"):
            loop.listen("tcp://127.0.0.1:0", Handler, framing=HttpRequests(), way="thread")
        with pytest.raises(ValueError, match="packet"):
            loop.listen("udp://127.0.0.1:0", Handler, framing=Lines(), limits=Limits())
        assert not list(loop.table)
