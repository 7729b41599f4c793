"""TLS handshakes of connections that a thread or child works on, which do them: accept() must not, for the loop would wait.

What it is: the handshake where the request is worked on, within its time, and before that when a hook asks what only a
handshake tells. What it is not: the decision to leave it; see `hosting`.

Rule: who does not ask does not wait. `verify_request` and `process_request` run in the loop's thread, and most of them look
at the address only. One that asks for the certificate waits for this client, `handshake_s` at most, and so do all others.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

# What an SSLSocket can tell only after the handshake: it raises, or says None, before.
_ASKED_FOR = (
    "getpeercert", "get_verified_chain", "get_unverified_chain", "version", "cipher", "shared_ciphers", "compression",
    "selected_alpn_protocol", "selected_npn_protocol", "get_channel_binding",
)  # fmt: skip
_LOOKED_AT = ("session", "session_reused")


def postpone(request: Any, within_s: float | None, failed: Callable[[], object]) -> None:
    """Have a request shake hands when it is asked for what only that tells.

    Args:
        request: an SSLSocket; its class is another one until then.
        within_s: how long it may take; None: for ever.
        failed: is called, in whatever thread, when nobody is there to talk to.
    """
    if hasattr(request, "do_handshake"):  # a get_request of its own may return what it likes
        own: Any = type(request)
        request._unshaken = own, within_s, failed
        request.__class__ = _unshaken(own)


def shake_hands(request: Any) -> None:
    """Do it, if it is to be done still; OSError: there is nobody to talk to."""
    postponed = getattr(request, "_unshaken", None)
    if postponed is None:
        return
    own, within_s, failed = postponed
    del request._unshaken
    request.__class__ = own
    timeout_s = request.gettimeout()
    request.settimeout(within_s)
    try:
        request.do_handshake()
    except OSError:
        failed()
        raise
    request.settimeout(timeout_s)


def _asking(name: str) -> Callable[..., Any]:
    def ask(request: Any, *args: Any, **keywords: Any) -> Any:
        shake_hands(request)
        return getattr(request, name)(*args, **keywords)  # of its own class now

    ask.__name__ = name
    return ask


def _looking(name: str) -> Any:
    def look(request: Any) -> Any:
        shake_hands(request)
        return getattr(request, name)

    def put(request: Any, value: Any) -> None:  # a session to resume is a client's, and belongs before the handshake
        own, *_ = request._unshaken
        getattr(own, name).__set__(request, value)

    return property(look, put)


@lru_cache(maxsize=16)
def _unshaken(own: Any) -> type:
    """Return a class of sockets that shake hands when asked; it has no slots, so that a socket can change between both."""
    methods = {name: _asking(name) for name in _ASKED_FOR if hasattr(own, name)}
    attributes = {name: _looking(name) for name in _LOOKED_AT if hasattr(own, name)}
    return type(own.__name__, (own,), {"__slots__": (), **methods, **attributes})
