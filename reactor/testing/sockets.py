"""Sockets of a simulated process, with the interface of `socket.socket`.

What it is: descriptors, timeouts, injected faults and the trace around what `tcp`, `unix_streams` and `packets` do. What
it is not: a thread; a blocking call lets simulated time pass until it can go on, and says so (`Stuck`) when it never
could. Rule: every call takes the same way, `_call`, where faults fall and the trace is written.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from typing import Any, Self, TypeVar

from .descriptions import AF_UNIX, Description, fail
from .network import Process

T = TypeVar("T")

_FAULTY = frozenset({"accept", "recv", "recvfrom", "recvmsg", "send", "sendto"})
_FAMILIES: dict[int, int] = {int(each): each for each in socket.AddressFamily}  # AF_UNIX may not be among them
# What a blocking call waits for. To Python EALREADY and EINPROGRESS are a BlockingIOError, too: only connect() says them.
_NOT_NOW = frozenset({errno.EAGAIN, errno.EWOULDBLOCK})
_CONNECTING = _NOT_NOW | {errno.EALREADY, errno.EINPROGRESS}
_ERROR_OPTION = (socket.SOL_SOCKET, socket.SO_ERROR)


class SimulatedSocket:
    """A socket of a simulated process.

    Args:
        process: whose descriptor it is.
        description: the socket as the kernel knows it.
        proto: the protocol number.
    """

    def __init__(self, process: Process, description: Description, proto: int = 0) -> None:
        self.process, self._description, self.proto = process, description, proto
        self.files = process.network  # who knows its path, as `os` does those of real ones
        self._network = process.network
        self._fd = process.open(description)
        self._timeout_s: float | None = None
        self._io_refs = 0  # open files over it: `socket.makefile` counts them
        self._closes = self._heard_end = False

    # -- the way of every call --------------------------------------------------------------------------------------

    def _call(self, call: str, function: Callable[..., T], *args: Any) -> T:
        """Make a call; wait for it in simulated time unless the socket is non-blocking."""
        network = self._network
        until_s = None if self._timeout_s is None else network.clock.now() + self._timeout_s
        while True:
            try:
                result = self._once(call, function, *args)
            except BlockingIOError as error:
                if self._timeout_s == 0 or error.errno not in (_CONNECTING if call == "connect" else _NOT_NOW):
                    self._note(call, error)
                    raise
            except OSError as error:  # no progress: it may say the same for ever (EMFILE)
                self._note(call, error)
                raise
            else:
                network.calls += self._is_progress(result)
                self._note(call, result)
                return result
            if not network.wait(until_s):
                raise TimeoutError("timed out")

    def _is_progress(self, result: object) -> bool:
        """To hear of the end of a stream once is, to hear of it again and again is what loops do that spin."""
        if result != b"":
            return True
        heard, self._heard_end = self._heard_end, True
        return not heard

    def _once(self, call: str, function: Callable[..., T], *args: Any) -> T:
        if self._fd < 0:
            fail(errno.EBADF)
        plan = self.process.plan
        if plan is not None:
            plan.before(call, self._description)
            if call in _FAULTY:
                if self._timeout_s == 0 and plan.says_not_now():
                    fail(errno.EAGAIN)
                if call in ("recv", "send") and plan.resets(call, self._description):
                    self._description.break_off()
        return function(*args)

    def _note(self, call: str, outcome: object) -> None:
        if call in ("send", "sendto") and isinstance(outcome, int):
            return  # `_sent` has noted the bytes
        if isinstance(outcome, tuple) and outcome and isinstance(outcome[0], SimulatedSocket):
            outcome = f"{outcome[0].fileno()} from {outcome[1]!r}"
        self._network.trace.add(self._network.clock.now(), f"{self.process.name} {self._fd}", call, outcome)

    # -- descriptors ------------------------------------------------------------------------------------------------

    @property
    def family(self) -> int:
        """The address family."""
        return _FAMILIES.get(self._description.family, self._description.family)

    @property
    def type(self) -> socket.SocketKind:
        """The kind of socket."""
        return socket.SocketKind(self._description.type)

    def fileno(self) -> int:
        """Return the descriptor; -1 once it is closed."""
        return self._fd

    def unsent_bytes(self) -> int:
        """Return what SIOCOUTQNSD would say, and what is on its way, which a reset overtakes here: see `reactor.unsent`."""
        return self._description.unsent_bytes

    def close(self) -> None:
        """Give the descriptor back; legal twice. Files over it keep it open, as with a real one."""
        self._closes = True
        if self._io_refs <= 0:
            self._real_close()

    def _real_close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            self._network.trace.add(self._network.clock.now(), f"{self.process.name} {fd}", "close", None)
            self._network.calls += 1
            self.process.close(fd)
            self._may_fail("close")  # close(2): the descriptor is gone all the same

    def _may_fail(self, call: str) -> None:
        if self.process.plan is not None:
            self.process.plan.before(call, self._description)

    def _decref_socketios(self) -> None:
        self._io_refs -= 1
        if self._closes:
            self.close()

    def detach(self) -> int:
        """Return the descriptor and forget it; somebody else closes it (`Process.close`)."""
        fd, self._fd = self._fd, -1
        return fd

    def dup(self) -> SimulatedSocket:
        """Return another descriptor for the same socket."""
        copy = self._call("dup", type(self), self.process, self._description, self.proto)
        copy._timeout_s = self._timeout_s
        return copy

    def get_inheritable(self) -> bool:
        """Return False: descriptors are not passed on to other programs (PEP 446)."""
        return False

    def set_inheritable(self, inheritable: bool) -> None:
        """Nothing: no simulated process starts a program."""

    def setblocking(self, flag: bool) -> None:
        """See `socket.socket.setblocking`."""
        self._may_fail("setblocking")
        self._timeout_s = None if flag else 0.0

    def getblocking(self) -> bool:
        """See `socket.socket.getblocking`."""
        return self._timeout_s != 0

    def settimeout(self, timeout_s: float | None) -> None:
        """See `socket.socket.settimeout`; the time is that of the simulation."""
        if timeout_s is not None and timeout_s < 0:
            raise ValueError("Timeout value out of range")
        self._may_fail("settimeout")
        self._timeout_s = timeout_s

    def gettimeout(self) -> float | None:
        """See `socket.socket.gettimeout`."""
        return self._timeout_s

    def setsockopt(self, level: int, option: int, value: Any, length: int | None = None) -> None:
        """See setsockopt(2): buffer sizes and SO_LINGER have an effect, the rest is kept."""
        self._call("setsockopt", self._description.options.__setitem__, (level, option), value)

    def getsockopt(self, level: int, option: int, length: int = 0) -> Any:
        """See getsockopt(2)."""
        if (level, option) == _ERROR_OPTION:
            return self._call("getsockopt", self._description.take_error)
        return self._call("getsockopt", self._description.options.get, (level, option), b"" if length else 0)

    # -- addresses --------------------------------------------------------------------------------------------------

    def bind(self, address: Any) -> None:
        """See bind(2)."""
        self._call("bind", self._description.bind, address)

    def listen(self, backlog: int = 128) -> None:
        """See listen(2)."""
        self._call("listen", self._description.listen, max(backlog, 0))

    def accept(self) -> tuple[SimulatedSocket, Any]:
        """See accept(2)."""
        return self._call("accept", self._accept)

    def _accept(self) -> tuple[SimulatedSocket, Any]:
        self.process.next_descriptor()  # as the kernel: first the descriptor, then the connection
        description = self._description.accept()
        return type(self)(self.process, description, self.proto), _address(description, description.peer_name)

    def connect(self, address: Any) -> None:
        """See connect(2)."""
        self._call("connect", self._description.connect, address)

    def connect_ex(self, address: Any) -> int:
        """Do the same, and return the errno; 0: it is done."""
        try:
            self.connect(address)
        except OSError as error:
            return error.errno or 0
        return 0

    def getsockname(self) -> Any:
        """Return our address."""
        self._may_fail("getsockname")
        if self._fd < 0:
            fail(errno.EBADF)
        name = self._description.name
        if name is None and self._description.family != AF_UNIX:
            return ("0.0.0.0", 0) if self.family == socket.AF_INET else ("::", 0, 0, 0)
        return _address(self._description, name) or ""

    def getpeername(self) -> Any:
        """Return the peer's address."""
        self._may_fail("getpeername")
        description = self._description
        if self._fd < 0:
            fail(errno.EBADF)
        if not description.has_peer:
            fail(errno.ENOTCONN)
        return _address(description, description.peer_name) or ""

    # -- bytes ------------------------------------------------------------------------------------------------------

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        """See recv(2)."""
        return self._call("recv", self._received, bufsize, flags)

    def _received(self, bufsize: int, flags: int) -> bytes:
        return self._description.recv(bufsize, bool(flags & socket.MSG_PEEK))[0]

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """See `socket.socket.recv_into`."""
        with memoryview(buffer).cast("B") as view:
            data = self.recv(nbytes or view.nbytes, flags)
            view[: len(data)] = data
        return len(data)

    def recvfrom(self, bufsize: int, flags: int = 0) -> tuple[bytes, Any]:
        """See recvfrom(2)."""
        data, _, _, sender = self._call("recvfrom", self._message, bufsize, flags)
        return data, sender

    def recvmsg(self, bufsize: int, ancbufsize: int = 0, flags: int = 0) -> tuple[bytes, list[Any], int, Any]:
        """See recvmsg(2)."""
        return self._call("recvmsg", self._message, bufsize, flags)

    def _message(self, bufsize: int, flags: int) -> tuple[bytes, list[Any], int, Any]:
        data, is_cut, sender = self._description.recv(bufsize, bool(flags & socket.MSG_PEEK))
        return data, [], socket.MSG_TRUNC if is_cut else 0, _address(self._description, sender)

    def send(self, data: Any, flags: int = 0) -> int:
        """See send(2)."""
        return self._call("send", self._sent, data, None)

    def _sent(self, data: Any, address: Any) -> int:
        data = bytes(data)
        if self.process.plan is not None and self._description.type == socket.SOCK_STREAM:
            data = data[: self.process.plan.taken(len(data))]
        count = self._description.send(data, address)
        self._network.trace.add(self._network.clock.now(), f"{self.process.name} {self._fd}", "send", data[:count])
        return count

    def sendall(self, data: Any, flags: int = 0) -> None:
        """See `socket.socket.sendall`."""
        view = memoryview(data).cast("B")
        while view:
            view = view[self.send(view) :]

    def sendto(self, data: Any, *flags_address: Any) -> int:
        """See sendto(2)."""
        return self._call("sendto", self._sent, data, flags_address[-1])

    def shutdown(self, how: int) -> None:
        """See shutdown(2)."""
        self._call("shutdown", self._description.shutdown, how)

    def makefile(self, mode: str = "r", buffering: int | None = None, **text: Any) -> Any:
        """See `socket.socket.makefile`."""
        return socket.socket.makefile(self, mode, buffering, **text)  # type: ignore[call-overload]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<SimulatedSocket {self.process.name} {self._fd} {self.type.name}>"


def _address(description: Description, name: Any) -> Any:
    """Return a name as Python shows it: abstract ones are bytes, an unbound Unix sender has none."""
    if isinstance(name, str) and name[:1] == "\0":
        return os.fsencode(name)
    if name is None and description.family == AF_UNIX and description.type == socket.SOCK_STREAM:
        return ""
    return name
