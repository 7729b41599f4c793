"""Who may come to a Unix socket, and who came: the mode of its path, and the user at the other end.

What it is: `bind_path`, which makes a path that is never wider than asked for, and `peer_credentials`, what the kernel
knows of the peer. What it is not: authentication of anybody who comes over a network.

Rules: the mode is there before the path is; a chmod() behind bind() lets anybody in between (twisted#11389) · the umask
is the whole process's and other threads make files meanwhile, so it is touched only where the kernel knows no other way ·
an abstract name has no mode, so asking for one is an error · who cannot be identified is turned away.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import stat
import struct
import sys
from collections.abc import Callable, Collection, Iterator
from typing import Any, NamedTuple

log = logging.getLogger("reactor")

# The number is the same everywhere; simulated Unix sockets exist also where there are no real ones (WebAssembly).
AF_UNIX: int = getattr(socket, "AF_UNIX", 1)
SO_PEERCRED: int = getattr(socket, "SO_PEERCRED", 17)  # that of Linux
PERMISSIONS = 0o777  # what a mode can say of a socket; the bits above mean nothing there
_UCRED = struct.Struct("iII")  # struct ucred, unix(7): process, user, group


class Credentials(NamedTuple):
    """A process at the other end of a Unix socket, as it was when it connected."""

    pid: int
    uid: int
    gid: int


def check_mode(mode: int | None, address: Any) -> None:
    """See that a path can have this mode.

    Raises:
        ValueError: it is no mode, or the name is an abstract one.
    """
    if mode is None:
        return
    if not 0 <= mode <= PERMISSIONS:
        raise ValueError(f"mode {mode} ({mode:#o}) for {address!r} is above 0o777; write it in octal, as 0o600")
    if not address or address[:1] in ("\0", b"\0"):
        raise ValueError(f"mode {mode:#o}: {address!r} is no path and has no mode; listen(allow_users=...) checks who came")


def bind_path(sock: Any, address: Any, mode: int | None, files: Any = os) -> None:
    """Bind a Unix socket, its path having `mode` before anybody can connect to it.

    Args:
        sock: the socket.
        address: the path, or an abstract name.
        mode: of the path; None: as the umask says.
        files: who knows the paths of these sockets.

    Raises:
        ValueError: see `check_mode`.
        OSError: the path cannot be had.
    """
    check_mode(mode, address)
    if mode is None:
        sock.bind(address)
        return
    with _never_wider(sock, mode, files):
        sock.bind(address)
    if stat.S_IMODE(files.stat(address).st_mode) != mode:  # the umask has taken away more than was asked for
        files.chmod(address, mode)


@contextlib.contextmanager
def _never_wider(sock: Any, mode: int, files: Any) -> Iterator[None]:
    """Have bind() make a path with this mode, or a narrower one."""
    if files is not os:  # nobody else is in a simulated world while this call lasts
        yield
    elif sys.platform == "linux":
        os.fchmod(sock.fileno(), mode)  # unix_bind_bsd() in net/unix/af_unix.c: the path gets the socket's mode & ~umask
        yield
    else:
        old = os.umask(PERMISSIONS & ~mode)  # fchmod() of a socket is EINVAL on macOS, and without effect on FreeBSD
        try:
            yield
        finally:
            os.umask(old)


def peer_credentials(sock: Any) -> Credentials:
    """Return who is at the other end of a Unix stream socket.

    Args:
        sock: a connected socket, or a stream.

    Raises:
        OSError: it is no Unix socket, or this platform does not tell (Linux does).
    """
    sock = getattr(sock, "sock", sock)
    is_told = sys.platform == "linux" or not isinstance(sock, socket.socket)  # simulated ones are like those of Linux
    if sock.family != AF_UNIX or not is_told:
        raise OSError(errno.EOPNOTSUPP, f"nobody knows the user at the other end of {sock!r}: Unix sockets on Linux tell")
    found = sock.getsockopt(socket.SOL_SOCKET, SO_PEERCRED, _UCRED.size)
    if len(found) != _UCRED.size:
        raise OSError(errno.EOPNOTSUPP, f"{sock!r} does not tell who is at its other end")
    return Credentials(*_UCRED.unpack(found))


def accept_of(sock: Any, users: Collection[int] | None) -> Callable[[], tuple[Any, Any]] | None:
    """Return the `accept` of a listener that lets in these users only; None: whoever comes.

    Raises:
        ValueError: nobody knows who comes to this socket.
    """
    if users is None:
        return None
    if sock.family != AF_UNIX or sock.type != socket.SOCK_STREAM:
        raise ValueError(f"allow_users={sorted(users)}: nobody knows who comes to {sock!r}; it is for Unix stream sockets")
    return accept_only(users, sock.accept)


def accept_only(users: Collection[int], accept: Callable[[], tuple[Any, Any]]) -> Callable[[], tuple[Any, Any]]:
    """Return an `accept` that closes connections of other users, and raises PermissionError for each.

    Args:
        users: the numbers of those who may come.
        accept: accepts a connection.
    """

    def accept_known() -> tuple[Any, Any]:
        sock, sockaddr = accept()
        try:
            uid = peer_credentials(sock).uid
        except OSError as error:
            sock.close()
            raise PermissionError(errno.EACCES, f"a connection of nobody knows whom was closed: {error}") from error
        if uid in users:
            return sock, sockaddr
        sock.close()
        log.info("a connection of user %d was closed: allow_users has %s", uid, sorted(users))
        raise PermissionError(errno.EACCES, f"user {uid} is not among allow_users={sorted(users)}")

    return accept_known
