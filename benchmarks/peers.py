"""The one table of all servers: what each is called, where it is written, and what it speaks.

To add a peer, write one function, as the peer's own documentation would write it, and one line of `SERVERS`. The function
gets the protocol to speak and `announce`, which it calls with its port once it is listening; then it serves until the
process is killed. It is imported only in its own process: a package that is not installed leaves its own row out of
the table, and nobody else's start-up or memory pays for it.

    echo    send back what came                     close   send back what came, once, and hang up
    lines   send back every line                    many    echo, on 500 listeners
    udp     send back the packet                    tiny    HTTP, its head taken apart by `tiny.answer`

Three house rules keep the comparison fair. TCP_NODELAY is on everywhere (asyncio sets it by itself). A peer is used the
way that is *safe* with it: asyncio's streams await `drain`, for without it a slow reader fills the memory. And who cuts
lines or heads by hand (the bare loop, Protocols, trio) sends all the answers to one read at once.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import NamedTuple

from benchmarks.bare import Announce

ServerFunction = Callable[[str, Announce], None]
STREAMS = ("echo", "lines", "close", "tiny")
ALL = (*STREAMS, "udp", "many")


class ServerKind(NamedTuple):
    place: str  # module:function
    protocols: tuple[str, ...]
    near: bool = False  # to the reference: measured in every generation, others in some (see `workloads.Effort`)
    threads: bool = False  # one for each connection

    def load(self) -> ServerFunction:
        """The function; ImportError, if its package is not there."""
        module, name = self.place.split(":")
        function: ServerFunction = getattr(import_module(f"benchmarks.{module}"), name)
        return function


REFERENCE = "bare"
SECOND_REFERENCE = "bare-again"  # the same function in a second process: what it shows is the error of the run

SERVERS = {
    REFERENCE: ServerKind("bare:epoll", ALL, near=True),
    SECOND_REFERENCE: ServerKind("bare:epoll", ALL, near=True),
    "coroutine": ServerKind("ours:coroutine", ALL, near=True),
    "framed": ServerKind("ways:framed", STREAMS, near=True),
    "greenlet": ServerKind("ways:greenlet", STREAMS, near=True),
    "selectors": ServerKind("bare_selectors:via_selectors", ("echo", "lines", "close")),
    "uvloop-protocol": ServerKind("peers_asyncio:uvloop_protocol", ALL, near=True),
    "uvloop-streams": ServerKind("peers_asyncio:uvloop_streams", STREAMS),
    "asyncio-protocol": ServerKind("peers_asyncio:asyncio_protocol", ALL, near=True),
    "asyncio-streams": ServerKind("peers_asyncio:asyncio_streams", STREAMS),
    "twisted": ServerKind("peers_twisted:serve", (*STREAMS, "udp")),
    "tornado": ServerKind("peers_others:tornado", STREAMS),
    "gevent": ServerKind("peers_others:gevent", (*STREAMS, "udp")),
    "trio": ServerKind("peers_others:trio", (*STREAMS, "udp")),
    "threading": ServerKind("ways:threading", STREAMS, threads=True),
}
PACKAGES = ("uvloop", "Twisted", "tornado", "gevent", "trio", "greenlet")  # whose versions a report names
