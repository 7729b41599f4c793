"""A tiny HTTP server's one function: the head of a request in, a whole reply out; the same one for every server.

What is measured with it is how a request reaches a handler and how the reply leaves, not who has the quickest parser:
request line and header fields are taken apart by hand, in the fewest lines that a real handler could live on. It is no
HTTP server to copy: `reactor.HttpRequests` has what is missing.
"""

from __future__ import annotations

END_OF_HEAD = b"\r\n\r\n"
BODY_BYTES = 100


def answer(head: bytes) -> bytes:
    """The reply to a head without the empty line that ends it."""
    request, *lines = head.split(b"\r\n")
    _, target, version = request.split(b" ")
    fields = {}
    for line in lines:
        name, _, value = line.partition(b":")
        fields[name.lower()] = value.strip()
    stays = version == b"HTTP/1.1" and fields.get(b"connection", b"keep-alive") == b"keep-alive"
    return b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: %s\r\n\r\n%s" % (
        BODY_BYTES, b"keep-alive" if stays else b"close", target.ljust(BODY_BYTES, b"."))
