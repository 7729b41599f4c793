"""Every limit of a listener, with its unit in the name and its source beside it.

A `Limits` is frozen and belongs to one listener (and to the rows that it accepts), so two listeners never share an
option by accident. `None` means off. Reactor-wide caps are keywords of `Reactor`.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from .errors import LimitError


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """The limits of one listener and of the rows it accepts; sizes in bytes, times in seconds.

    Raises:
        ValueError: a value contradicts another one, is out of range, or is None where that limit cannot be off.
    """

    connections: int | None = None
    connections_per_peer: int | None = None
    # SOMAXCONN of Linux is 4096; 1024 absorbs a burst of one second of slow turns. (socketserver keeps its own 5.)
    backlog: int = 1024
    # libev, libuv and nginx's multi_accept all bound it in some way: rows that wait must get their turn.
    accepts_per_turn: int = 64
    # A frame that fits one recv() (asyncio's stream limit is the same 64 KiB).
    frame_bytes: int = 65536
    inbox_bytes: int = 65536  # one more recv() while a handler works
    # asyncio's transports: high water 64 KiB, low water a quarter of it.
    outbox_high_bytes: int = 65536
    outbox_low_bytes: int = 16384
    outbox_bytes: int = 16 << 20  # half of what redis lets a subscriber have (client-output-buffer-limit: 32 MiB)
    spool_bytes: int | None = 1 << 30  # of a framed handler's reply that the outbox cannot hold, on disk
    bytes_per_turn: int = 262144  # as much as asyncio receives at once (max_size)
    frames_per_turn: int = 32  # what is cut ahead in one go; see `buffers`
    # Without a descriptor for so long, those who wait are closed, so that they can go elsewhere (libuv, Twisted: at once).
    shortage_s: float | None = 1
    handshake_s: float | None = 10  # of TLS, in the thread, child or greenlet that has the connection
    idle_s: float | None = 75  # nginx keepalive_timeout
    request_s: float | None = 30  # absolute, never reset by a byte: slowloris (CVE-2007-6750)
    request_bytes_per_s: float | None = None  # on average; then request_s may be long (Kestrel: 240, Apache: 500)
    request_grace_s: float = 5  # before that counts (Kestrel's MinRequestBodyDataRate)
    work_s: float | None = None
    write_stall_s: float | None = 30  # without any progress (nginx send_timeout is 60)
    linger_s: float = 2  # Apache's lingering close: 2 s between reads
    linger_bytes: int = 65536  # one recv(): more than what was on its way when our side was shut

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            may_be_off = "None" in str(field.type)
            if (value is None and not may_be_off) or (value is not None and not value > 0):  # `not`: NaN, too
                off = " (None switches it off)" if may_be_off else ""
                raise ValueError(f"Limits({field.name}={value!r}): must be positive{off}")
        if not self.outbox_low_bytes <= self.outbox_high_bytes <= self.outbox_bytes:
            raise ValueError(
                "Limits: outbox_low_bytes <= outbox_high_bytes <= outbox_bytes must hold, but they are "
                f"{self.outbox_low_bytes}, {self.outbox_high_bytes}, {self.outbox_bytes}"
            )

    def request_lasts_s(self, received_bytes: int) -> float | None:
        """Return how long a request may last of which so many bytes have come; None: for ever."""
        if self.request_bytes_per_s is None:
            return self.request_s
        # Whole seconds: a peer that is just quick enough must not cost the heap of deadlines something for each byte.
        slow_s = max(self.request_grace_s, math.ceil(received_bytes / self.request_bytes_per_s))
        return slow_s if self.request_s is None else min(slow_s, self.request_s)

    def late(self, name: str, took_s: float, phase: str, received_bytes: int) -> LimitError:
        """Return the error of a row whose time is up by the limit `name`; a request may also have come too slowly."""
        limit_s, rate = getattr(self, name), self.request_bytes_per_s
        if name == "request_s" and rate is not None and (limit_s is None or took_s < limit_s):
            hint = f"the least that a request may bring on average after {self.request_grace_s:g} s"
            return LimitError("request_bytes_per_s", rate, received_bytes / took_s, hint)
        return LimitError(name, limit_s, took_s, f"in phase {phase}")

    def replace(self, **changes: Any) -> Limits:
        """Return a copy with some limits changed; an unknown name is a TypeError."""
        return dataclasses.replace(self, **changes)


DEFAULTS = Limits()
