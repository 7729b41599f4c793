"""Where to listen: endpoints as people write them, sockets as the kernel wants them.

    tcp://127.0.0.1:8000   tcp://[::1]:0   udp://127.0.0.1:53   unix:///run/app.sock   unix+dgram:///run/log.sock

Rules: port 0 asks for a free port · a Unix path with a socket that nobody serves is replaced, one that is served is an
error, and anything that is no socket is left alone (asyncio unlinks a *live* server's socket: cpython#121252) · at
close the path is removed only while it still is ours · `unix://@name` is an abstract name (Linux), which has no
permissions: any local user may connect (but see `permissions.accept_only`).
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from .permissions import AF_UNIX, bind_path

_SCHEMES = {
    "tcp": ("inet", socket.SOCK_STREAM),
    "udp": ("inet", socket.SOCK_DGRAM),
    "unix": ("unix", socket.SOCK_STREAM),
    "unix+dgram": ("unix", socket.SOCK_DGRAM),
}
# sockaddr_un.sun_path, unix(7): 108 bytes with the final zero on Linux, 104 on BSD and macOS.
SUN_PATH_BYTES = 108 if os.name == "posix" and os.uname().sysname == "Linux" else 104


class Peer:
    """The other end of a row: `host`, `port`, and `sockaddr`, the address as the kernel gave it."""

    __slots__ = ("sockaddr",)

    def __init__(self, sockaddr: Any) -> None:
        self.sockaddr = sockaddr

    @property
    def host(self) -> str:
        """The IP address; "" for Unix sockets."""
        return str(self.sockaddr[0]) if isinstance(self.sockaddr, tuple) and self.sockaddr else ""

    @property
    def port(self) -> int:
        """The port; 0 for Unix sockets."""
        return int(self.sockaddr[1]) if isinstance(self.sockaddr, tuple) and len(self.sockaddr) > 1 else 0

    def __str__(self) -> str:
        return printable(as_text(self.sockaddr))  # a Unix client chooses the path that it binds

    def __repr__(self) -> str:
        return f"Peer({self.sockaddr!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Peer) and self.sockaddr == other.sockaddr

    def __hash__(self) -> int:
        return hash(self.sockaddr)


def as_text(sockaddr: Any) -> str:
    """Return an address as people write it: 127.0.0.1:80, [::1]:80, a path, @abstract; "" for none."""
    if isinstance(sockaddr, tuple) and len(sockaddr) >= 2:
        host, port = sockaddr[0], sockaddr[1]
        return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
    if isinstance(sockaddr, bytes) and sockaddr[:1] == b"\0":
        return "@" + sockaddr[1:].decode("utf-8", "backslashreplace")
    if isinstance(sockaddr, bytes):
        return os.fsdecode(sockaddr)
    return "" if sockaddr is None else str(sockaddr)


def printable(text: str) -> str:
    """Return `text` on one line: what would break it or turn it around (controls, bidirectional marks) is escaped."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A parsed endpoint.

    Raises:
        ValueError: from `parse`; the message shows the forms that are understood.
    """

    scheme: str
    family: Literal["inet", "unix"]
    type: int
    host: str = ""
    port: int = 0
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> Endpoint:
        """Parse `text`."""
        scheme, separator, rest = text.partition("://")
        if not separator or scheme not in _SCHEMES:
            raise ValueError(_not_understood(text, f"the scheme must be one of {', '.join(_SCHEMES)}"))
        family, type_ = _SCHEMES[scheme]
        if family == "unix":
            return cls(scheme, "unix", type_, path=_checked_path(text, rest))
        try:
            parts = urlsplit(f"//{rest}")
            host, port = parts.hostname, parts.port
            (host or "").encode("idna")  # as getaddrinfo will
        except ValueError as error:
            raise ValueError(_not_understood(text, str(error))) from None
        if not host or port is None or parts.netloc != rest or parts.username is not None:
            raise ValueError(_not_understood(text, "a host and a port are needed (port 0 asks for a free one)"))
        return cls(scheme, "inet", type_, host=host, port=port)

    def bind(self, backlog: int, sockets: Any = socket, *, mode: int | None = None) -> socket.socket:
        """Return a bound, non-blocking socket (listening, if it is a stream). The caller closes it.

        Args:
            backlog: how many connections may wait, for a stream.
            sockets: the module that makes the socket.
            mode: of a Unix path, from its first moment; None: as the umask says.

        Raises:
            OSError: the address cannot be had; the message names the endpoint.
            ValueError: there is no path that could have this mode.
        """
        if mode is not None and self.family != "unix":
            raise ValueError(f"mode {mode:#o} for {self}: only the path of a Unix socket has a mode")
        try:
            family, sockaddr = self._resolve(sockets)
            sock: socket.socket = sockets.socket(family, self.type)
            try:
                self._bind(sock, sockaddr, backlog, sockets, mode)
            except BaseException:  # whatever ends the attempt must not leak the descriptor
                sock.close()
                raise
        except OSError as error:
            raise type(error)(error.errno, f"cannot listen at {self}: {error.strerror or error}") from error
        return sock

    def _resolve(self, sockets: Any) -> tuple[int, Any]:
        """Return the address family and the address as the kernel wants it."""
        if self.family == "inet":
            found = socket.getaddrinfo(self.host, self.port, type=self.type, flags=socket.AI_PASSIVE)[0]
            return found[0], found[4]
        if sockets is socket and not hasattr(socket, "AF_UNIX"):
            raise OSError(errno.EAFNOSUPPORT, "this platform has no Unix sockets")
        return AF_UNIX, "\0" + self.path[1:] if self.path.startswith("@") else self.path

    def _bind(self, sock: socket.socket, sockaddr: Any, backlog: int, sockets: Any, mode: int | None) -> None:
        if self.family == "unix":
            if sockaddr == self.path:  # not abstract
                remove_stale(self.path, self.type, sockets)
            bind_path(sock, sockaddr, mode, _files(sockets))
        else:
            hold_port(sock, reuse=self.type == socket.SOCK_STREAM)
            sock.bind(sockaddr)
        if self.type == socket.SOCK_STREAM:
            sock.listen(backlog)
        sock.setblocking(False)

    def __str__(self) -> str:
        if self.family == "unix":
            return f"{self.scheme}://{self.path}"
        return f"{self.scheme}://{as_text((self.host, self.port))}"


def hold_port(sock: Any, *, reuse: bool) -> None:
    """Before bind(): let no other process have the port that this socket gets.

    Args:
        sock: the socket.
        reuse: a port whose last connections are still in TIME_WAIT will do; for datagrams, one that others have, too.

    On Windows SO_REUSEADDR lets another process bind the port that we serve, and take our clients (twisted#4195,
    trio#928); SO_EXCLUSIVEADDRUSE forbids it to everybody, and TIME_WAIT is no obstacle there. Only receivers of a
    multicast group share a port on purpose.
    """
    exclusive = getattr(socket, "SO_EXCLUSIVEADDRUSE", None)  # only Windows has it
    if exclusive is not None and _has_port(sock) and not (reuse and sock.type == socket.SOCK_DGRAM):
        sock.setsockopt(socket.SOL_SOCKET, exclusive, 1)
    elif reuse and hasattr(socket, "SO_REUSEADDR"):  # WebAssembly has none
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)


def _has_port(sock: Any) -> bool:
    return sock.family in (socket.AF_INET, socket.AF_INET6)


def _files(sockets: Any) -> Any:
    """Return who knows the paths of these sockets: the system, unless they are simulated."""
    return getattr(sockets, "files", os)


def remove_stale(path: str, type_: int, sockets: Any = socket) -> None:
    """Unlink a Unix socket that nobody serves.

    Raises:
        OSError: EADDRINUSE: somebody serves it, or it is no socket.
    """
    try:
        if not stat.S_ISSOCK(_files(sockets).stat(path).st_mode):
            raise OSError(errno.EADDRINUSE, f"{path} exists and is no socket")
    except FileNotFoundError:
        return
    with sockets.socket(AF_UNIX, type_) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            with contextlib.suppress(FileNotFoundError):
                _files(sockets).unlink(path)
            return
        except OSError as error:
            # A full backlog, or a server of the other type: somebody serves it.
            if error.errno not in (errno.EAGAIN, errno.EPROTOTYPE):
                raise
    raise OSError(errno.EADDRINUSE, f"{path} is served by another process")


def identity(sock: Any) -> tuple[str, int, int, Any] | None:
    """Return path, device and inode of a bound Unix socket (and who knows them), to see at close if it is still ours."""
    if sock.family != AF_UNIX:
        return None
    path = sock.getsockname()
    if not isinstance(path, str) or not path:
        return None  # abstract, or unbound
    files = _files(sock)
    status = files.stat(path)
    return os.path.abspath(path), status.st_dev, status.st_ino, files


def unlink_if_ours(ours: tuple[str, int, int, Any] | None) -> None:
    """Remove the path of a Unix socket unless somebody else has taken it since."""
    if ours is None:
        return
    path, device, inode, files = ours
    with contextlib.suppress(OSError):  # gone, or in a directory that is gone: nothing of ours is left
        status = files.stat(path)
        if (status.st_dev, status.st_ino) == (device, inode):
            files.unlink(path)


def _checked_path(text: str, path: str) -> str:
    if not path or "\0" in path:
        raise ValueError(_not_understood(text, "a path is needed, without NUL"))
    if len(os.fsencode(path)) >= SUN_PATH_BYTES:
        raise ValueError(
            f"endpoint {text!r}: the path has {len(os.fsencode(path))} bytes and the kernel takes at most "
            f"{SUN_PATH_BYTES - 1}; use a shorter one, or one relative to the working directory"
        )
    return path


def _not_understood(text: str, why: str) -> str:
    return (
        f"endpoint {text!r} is not understood: {why}; write tcp://127.0.0.1:8000, udp://[::1]:53, "
        "unix:///run/app.sock, unix+dgram:///run/log.sock or unix://@name"
    )
