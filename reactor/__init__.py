"""socketreactor: the whole of Python's `socketserver` on one selector loop, half-finished requests in a table.

    from reactor import Reactor, Stream

    async def greet(stream: Stream) -> None:
        stream.write(b"What is your name? ")
        stream.write(b"Hello, " + await stream.readline(max_bytes=80))

    with Reactor() as loop:
        loop.listen("tcp://127.0.0.1:8000", greet)
        loop.run()

`import reactor.socketserver as socketserver` is the drop-in for the standard module. docs/ARCHITECTURE.md is the map.
"""

from .addresses import Endpoint, Peer
from .async_handlers import AsyncStreamRequestHandler
from .buffers import Inbox
from .clock import Clock, ManualClock
from .coroutine_streams import Stream
from .coroutines import Task, sleep, spawn, timeout
from .datagrams import Datagram
from .drain import DrainReport
from .errors import (
    BlockingHandlerError,
    BlockingHandlerWarning,
    Cancelled,
    ConnectionLost,
    EndOfStream,
    FramingError,
    LimitError,
    MissingExtraError,
    ReactorError,
)
from .framing import Framing, Need
from .framings import Fixed, LengthPrefixed, Lines, Netstring, Raw, Until
from .http_framing import HttpRequests
from .limits import Limits
from .listeners import HostableServer, Listener
from .observers import Observer, Turn
from .permissions import Credentials, peer_credentials
from .phases import End, Event, Phase
from .reactor import Reactor
from .recorder import BAD_ENDS, Recorder, masked
from .serving import ReactorMixIn
from .snapshots import RowSnapshot
from .table import Row, Table
from .timers import Timer

__all__ = [
    "BAD_ENDS", "AsyncStreamRequestHandler", "BlockingHandlerError", "BlockingHandlerWarning", "Cancelled", "Clock",
    "ConnectionLost", "Credentials", "Datagram", "DrainReport", "End", "EndOfStream", "Endpoint", "Event", "Fixed",
    "Framing", "FramingError", "HostableServer", "HttpRequests", "Inbox", "LengthPrefixed", "LimitError", "Limits",
    "Lines", "Listener", "ManualClock", "MissingExtraError", "Need", "Netstring", "Observer", "Peer", "Phase", "Raw",
    "Reactor", "ReactorError", "ReactorMixIn", "Recorder", "Row", "RowSnapshot", "Stream", "Table", "Task", "Timer", "Turn",
    "Until", "masked", "peer_credentials", "sleep", "spawn", "timeout",
]  # fmt: skip

__version__ = "0.1.0"
