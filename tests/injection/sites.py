"""The system-call sites of the engine, from its source.

What it is: every place in reactor/*.py (its `testing` not among them) that names a system call, found by `ast`. What it is
not: a judgement; no scenario need reach those of `REASONS`, which says why.
"""

from __future__ import annotations

import ast
import pathlib
from collections.abc import Iterator

import reactor

from .errnos import ERRNOS, REAL_ONLY

Site = tuple[str, str, str]  # file, function, call

_FILE, _COROUTINE = "a file", "of a coroutine or generator"
_GREEN = "greenlets have real sockets only: tests/test_green_*.py"
_REAL = "a real socket or selector: no simulated world makes it"
_BIND = "binding a server itself: the simulated ones are bound before they are added"
_PROCESS = "threads and children have real sockets only: tests/test_hosting.py, tests/test_mixins.py"
# Why no fault falls there, by file or by site.
REASONS: dict[str | Site, str] = {
    "green_common": _GREEN,
    "green_rows": _GREEN,
    "green_sockets": _GREEN,
    "green_tls": _GREEN,
    "greening": _GREEN,
    "greenlet_hosts": _GREEN,
    "frame_files": _FILE,
    "quick_files": _FILE,
    "http_framing": _FILE,
    "spools": _FILE,
    "coroutines": _COROUTINE,
    "coroutine_streams": "marks the row",
    "detached": _PROCESS,
    "mixins": _PROCESS,
    "offload": _PROCESS,
    "recorder": _FILE,
    "signals": "signal.set_wakeup_fd fails for what is no socket only",
    ("accepted", "quick_accept.<locals>.accept_plain", "close"): _REAL,
    ("accepted", "quick_accept.<locals>.accept_plain", "socket"): _REAL,
    ("addresses", "Endpoint._resolve", "getaddrinfo"): "no errno: a resolver has errors of its own",
    ("datagrams", "Datagram.reply", "send"): "calls DatagramRow.send",
    ("demultiplexer", "Demultiplexer.close", "close"): "the selector's own descriptor: no simulated selector has one",
    ("demultiplexer", "Demultiplexer._replace", "register"): _REAL,
    ("demultiplexer", "Demultiplexer._replace", "unregister"): _REAL,
    ("demultiplexer", "Demultiplexer.fileno", "register"): _REAL,
    ("demultiplexer", "_carried_over", "register"): _REAL,
    ("demultiplexer", "Demultiplexer.has_strays", "poll"): _REAL,
    ("demultiplexer", "Demultiplexer.is_ready", "register"): _REAL,
    ("demultiplexer", "Demultiplexer.is_ready", "select"): _REAL,
    ("demultiplexer", "_DirectEpoll.modify", "modify"): _REAL,
    ("demultiplexer", "_DirectEpoll.register", "register"): _REAL,
    ("demultiplexer", "_DirectEpoll.unregister", "unregister"): _REAL,
    ("demultiplexer", "_DirectEpoll.wait_rows", "poll"): _REAL,
    ("demultiplexer", "_best", "close"): _REAL,
    ("demultiplexer", "wait_readable", "register"): _REAL,
    ("demultiplexer", "wait_readable", "select"): _REAL,
    ("framed_sockets", "SocketOfRow.__exit__", "close"): "marks the row",
    ("framed", "FramedRow.deliver", "close"): _FILE,
    ("framed_sockets", "SocketOfRow.makefile", "send"): "writes to the outbox",
    ("framed_sockets", "SocketOfRow.recv_into", "recv"): "reads from the frame",
    ("framed_sockets", "SocketOfRow.send", "sendall"): "writes to the outbox",
    ("framed_sockets", "SocketOfRow.sendfile", "sendall"): "writes to the outbox",
    ("guests", "Answers._send", "send"): _REAL,
    ("guests", "Answers.sendmsg", "sendmsg"): _REAL,
    ("guests", "Answers.sendto", "sendto"): _REAL,
    ("guests", "HostedAcceptor.__init__", "accept"): "calls what quick_accept has returned",
    ("guests", "HostedAcceptor._release", "close"): "calls Host.close",
    ("guests", "ServedRequests._release", "close"): "calls Host.close",
    ("handled", "HandledRow.deliver", "send"): _COROUTINE,
    ("handled", "HandledRow.start", "close"): _COROUTINE,
    ("handled", "HandledRow.start", "send"): _COROUTINE,
    ("hosting", "Host.forked", "pidfd_open"): _PROCESS,
    ("hosting", "Host.server_closes", "close"): _PROCESS,
    ("handshakes", "shake_hands", "do_handshake"): _REAL,
    ("handshakes", "shake_hands", "settimeout"): _REAL,
    ("loop", "Loop.__exit__", "close"): "calls Loop.close",
    ("loop", "Loop.abandon", "close"): "in a forked child",
    ("loop", "Loop.close", "close"): "refers to the closing of selector and waker",
    ("permissions", "_never_wider", "fchmod"): _REAL,
    ("quick_handlers", "_close", "close"): _FILE,
    ("quick_handlers", "_failed", "close"): _FILE,
    ("quick_handlers", "serve_frames", "settimeout"): "limits the wait for the next frame",
    ("reactor", "Reactor._socket_at", "bind"): "calls Endpoint.bind",
    ("reactor", "_server_on", "getsockname"): "a handler class that listens: the scenarios host servers of their own",
    ("reactor", "_server_on", "setblocking"): "as that",
    ("request_handlers", "BaseRequestHandler._refuse_coroutine", "close"): _COROUTINE,
    ("request_handlers", "StreamRequestHandler.finish", "close"): _FILE,
    ("servers", "TCPServer.__init__", "socket"): _BIND,
    ("servers", "TCPServer.get_request", "accept"): "the loop calls accept() itself, unless somebody overrides the hook",
    ("servers", "TCPServer.server_activate", "listen"): _BIND,
    ("servers", "TCPServer.server_bind", "bind"): _BIND,
    ("servers", "TCPServer.server_bind", "getsockname"): _BIND,
    ("servers", "TCPServer.server_bind", "setsockopt"): _BIND,
    ("serving", "Serving._handle_request_on_loop", "close"): "marks the listener",
    ("table", "Row.expel", "close"): "only if closing in good order raises what is no OSError: a mistake of the engine",
}
# Where the call that a site names is made, if elsewhere.
MADE_AT: dict[Site, Site] = {
    ("permissions", "accept_of", "accept"): ("permissions", "accept_only.<locals>.accept_known", "accept"),
    ("accepted", "quick_accept", "accept"): ("acceptor", "AcceptorRow._accept_one", "accept"),
    ("request_handlers", "_SocketWriter.write", "sendall"): ("request_handlers", "_SocketWriter.write", "send"),
}
# Sites that only a fault leads to, and the scenario and site of one that does.
AFTER: dict[Site, tuple[str, Site]] = {
    ("addresses", "Endpoint.bind", "close"): ("echo", ("addresses", "Endpoint._bind", "bind")),
    ("permissions", "accept_only.<locals>.accept_known", "close"): (
        "guarded", ("permissions", "peer_credentials", "getsockopt")
    ),
    ("reactor", "Reactor.listen", "close"): ("echo", ("reactor", "Reactor._listen", "getsockname")),
    ("hosting", "Host._give_back", "settimeout"): ("framed", ("demultiplexer", "Demultiplexer._register", "register")),
    ("waker", "WakerRow.__init__", "close"): ("woken", ("waker", "WakerRow.__init__", "setblocking")),
}
# As those; other scenarios reach these, too.
ALSO_AFTER: dict[Site, tuple[str, Site]] = {
    ("acceptor", "AcceptorRow._take", "close"): ("echo", ("reactor", "_Welcome.take", "setblocking")),
}

CALLS = frozenset(ERRNOS) | frozenset(REAL_ONLY)
FOLDER = pathlib.Path(reactor.__file__).parent


def sites_of(source: str, file: str) -> set[Site]:
    """Return what a source names: calls and references (`accept or sock.accept`) alike."""
    return {(file, function, call) for function, call in _walk(ast.parse(source), "")}


def _walk(node: ast.AST, inside: str) -> Iterator[tuple[str, str]]:
    for child in ast.iter_child_nodes(node):
        within = inside
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            within = f"{inside}{child.name}.<locals>."
        elif isinstance(child, ast.ClassDef):
            within = f"{inside}{child.name}."
        name = _named(child)
        if name in CALLS:
            yield _function(inside), name
        yield from _walk(child, within)


def _named(node: ast.AST) -> str:
    """Return the call that a node names; `socket` is a module, a type and a field too, so only a call of it counts."""
    match node:
        case ast.Call(func=ast.Name(id=name)) | ast.Call(func=ast.Attribute(attr="socket" as name)):
            return name
        case ast.Attribute(attr=name, ctx=ast.Load()) if name != "socket":
            return name
    return ""


def _function(inside: str) -> str:
    return inside.removesuffix(".").removesuffix(".<locals>") or "<module>"


def all_sites() -> set[Site]:
    """Return the sites of the whole engine."""
    return {site for path in sorted(FOLDER.glob("*.py")) for site in sites_of(path.read_text(), path.stem)}


def unexplained(sites: set[Site], reached: set[Site]) -> set[Site]:
    """Return the sites on which no fault falls, and nobody says why."""
    return {
        site
        for site in sites
        if MADE_AT.get(site, site) not in reached and site not in AFTER and site not in REASONS and site[0] not in REASONS
    }
