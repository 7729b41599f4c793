"""What each system call may fail with, as the man pages of Linux list it.

What it is: section 2 of the manual, plus the network errors that ip(7), tcp(7) and udp(7) pass on. What it is not: what
the engine does about them. EFAULT is left out but for epoll_wait(2): only a wrong pointer causes it, and Python has none.
"""

# Errors of the network that a socket reports at its next call: ip(7), tcp(7), udp(7), accept(2).
NETWORK = ("ENETDOWN", "EPROTO", "ENOPROTOOPT", "EHOSTDOWN", "ENONET", "EHOSTUNREACH", "EOPNOTSUPP", "ENETUNREACH")
RECEIVING = (
    "EAGAIN", "EBADF", "ECONNREFUSED", "EINTR", "EINVAL", "ENOMEM", "ENOTCONN", "ENOTSOCK", "ECONNRESET", "ETIMEDOUT",
    "EHOSTUNREACH", "ENETDOWN", "ENOBUFS",
)  # fmt: skip
SENDING = (
    "EACCES", "EAGAIN", "EALREADY", "EBADF", "ECONNRESET", "EDESTADDRREQ", "EINTR", "EINVAL", "EISCONN", "EMSGSIZE",
    "ENOBUFS", "ENOMEM", "ENOTCONN", "ENOTSOCK", "EOPNOTSUPP", "EPIPE", "ETIMEDOUT", "EHOSTUNREACH", "ENETDOWN",
)  # fmt: skip
PATHS = ("EACCES", "ELOOP", "ENAMETOOLONG", "ENOENT", "ENOMEM", "ENOTDIR")

ERRNOS: dict[str, tuple[str, ...]] = {
    "socket": ("EACCES", "EAFNOSUPPORT", "EINVAL", "EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "EPROTONOSUPPORT"),
    "setsockopt": ("EBADF", "EINVAL", "ENOPROTOOPT", "ENOTSOCK", "EDOM", "ENOMEM", "ENOBUFS"),
    "setblocking": ("EBADF", "EINVAL", "ENOTTY"),  # ioctl(2) FIONBIO
    "settimeout": ("EBADF", "EINVAL", "ENOTTY"),
    "bind": (
        "EACCES", "EADDRINUSE", "EBADF", "EINVAL", "ENOTSOCK", "EADDRNOTAVAIL", "ELOOP", "ENAMETOOLONG", "ENOENT",
        "ENOMEM", "ENOTDIR", "EROFS",
    ),
    "listen": ("EADDRINUSE", "EBADF", "ENOTSOCK", "EOPNOTSUPP"),
    "getpeername": ("EBADF", "EINVAL", "ENOBUFS", "ENOTCONN", "ENOTSOCK"),
    "getsockopt": ("EBADF", "EINVAL", "ENOPROTOOPT", "ENOTSOCK"),
    "socketpair": ("EAFNOSUPPORT", "EMFILE", "ENFILE", "EOPNOTSUPP", "EPROTONOSUPPORT"),
    "getsockname": ("EBADF", "EINVAL", "ENOBUFS", "ENOTSOCK"),
    "connect": ("EACCES", "EADDRINUSE", "EAGAIN", "EINTR", "ENOENT", "ENOTSOCK", "EPROTOTYPE", "ECONNREFUSED"),
    "accept": (
        "EAGAIN", "EBADF", "ECONNABORTED", "EINTR", "EINVAL", "EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "ENOTSOCK",
        "EPERM", "ENOSR", "ESOCKTNOSUPPORT", "EPROTONOSUPPORT", "ETIMEDOUT", *NETWORK,
    ),
    "recv": RECEIVING,
    "recvfrom": RECEIVING,
    "recvmsg": RECEIVING,
    "send": SENDING,
    "sendto": (*SENDING, "ECONNREFUSED", "EPERM"),
    "shutdown": ("EBADF", "EINVAL", "ENOTCONN", "ENOTSOCK"),
    "close": ("EIO", "EINTR", "ENOSPC", "EDQUOT"),  # the descriptor is gone all the same
    "register": ("EBADF", "EEXIST", "EINVAL", "ELOOP", "ENOENT", "ENOMEM", "ENOSPC", "EPERM"),  # EPOLL_CTL_ADD
    "modify": ("EBADF", "EINVAL", "ENOENT", "ENOMEM"),
    "unregister": ("EBADF", "ENOENT"),
    "select": ("EINTR", "EBADF", "EINVAL", "EFAULT"),  # epoll_wait(2)
    "stat": PATHS,
    "chmod": (*PATHS, "EIO", "EPERM", "EROFS"),
    "unlink": ("EACCES", "EBUSY", "EIO", "ELOOP", "ENOENT", "ENOMEM", "EPERM", "EROFS"),
}  # fmt: skip
# Calls that are sites as well, and that no simulated world makes: `sites` has a reason for each.
REAL_ONLY = (
    "recv_into", "recvfrom_into", "sendmsg", "sendall", "sendfile", "detach", "dup", "fstat", "fchmod", "fork", "waitpid",
    "kill", "pidfd_open", "getaddrinfo", "set_wakeup_fd", "poll", "connect_ex", "do_handshake",
)  # fmt: skip
# "Not now": nothing is lost, and the call is made again (transports.NOT_NOW, and EINTR everywhere).
TRANSIENT = frozenset({"EAGAIN", "EINTR", "ENOBUFS"})
