"""How another thread or a signal interrupts the wait: a socket pair whose far end is a row of the table.

What it is: one byte, meaning "look at what was posted". What it is not: a queue; the calls wait in a deque, the signals
in the interpreter, and a full pair loses bytes without losing a wake-up. It is a socket pair and no pipe because
Windows cannot select pipes, and it is made when a loop first runs, never at import or construction: on WebAssembly
there is none.
"""

from __future__ import annotations

import contextlib
from typing import Any

from .limits import DEFAULTS
from .phases import Event, Phase
from .snapshots import Kind
from .table import Row

# More than any burst of signals; what is left is read in the next turn.
DRAIN_BYTES = 4096


class WakerRow(Row):
    """The receiving end.

    Raises:
        OSError, NotImplementedError: this platform has no socket pairs.
    """

    kind: Kind = "waker"
    __slots__ = ("sender",)

    def __init__(self, loop: Any) -> None:
        receiver, self.sender = loop.sockets.socketpair()
        try:
            receiver.setblocking(False)
            self.sender.setblocking(False)
            super().__init__(loop, receiver, "waker", DEFAULTS, Phase.LISTENING)
            self.watch_or_leave()
        except BaseException:
            for end in (receiver, self.sender):
                with contextlib.suppress(OSError):
                    end.close()
            raise

    def wake(self) -> None:
        """Interrupt the wait; legal in any thread and in a signal handler."""
        try:
            self.sender.send(b"\0")
        except OSError:
            # EAGAIN: the pair is full, so a wake-up is due anyway. EBADF: the loop was closed in the meantime.
            pass

    def on_ready(self, ready: int) -> None:
        """Swallow the bytes; an end of stream is fatal, for it would be reported for ever (cpython#156333)."""
        try:
            data = self.sock.recv(DRAIN_BYTES)
        except OSError:
            return
        if not data:
            raise RuntimeError(f"{self} reached its end of stream: somebody closed the loop's own socket pair")
        self.bytes_in += len(data)

    def close(self) -> None:
        """Close both ends now: the loop is not in a batch when it closes."""
        if self.phase is not Phase.CLOSED:
            self.advance(Event.STOP)
            self._gone()
            self.sender.close()
