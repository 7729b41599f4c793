"""Frames without a byte, input that nobody reads, and children beside rows that they must not touch."""

import os
from typing import Any

import pytest

from reactor import Framing, LengthPrefixed, Lines, Netstring, Reactor, Stream
from tests.driving import listen, receive, receive_all
from tests.running import python


@pytest.mark.parametrize(
    ("framing", "wire", "frames"),
    [
        (LengthPrefixed(4), b"\0\0\0\0" b"\0\0\0\1a" b"\0\0\0\0", [b"", b"a", b""]),
        (Netstring(), b"0:,1:a,0:,", [b"", b"a", b""]),
        (Lines(), b"\na\n\n", [b"\n", b"a\n", b"\n"]),
    ],
    ids=["LengthPrefixed", "Netstring", "Lines"],
)
@pytest.mark.parametrize("piecemeal", [False, True])
def test_an_empty_frame_is_not_the_end(
    loop: Reactor, connect: Any, framing: Framing[bytes], wire: bytes, frames: list[bytes], piecemeal: bool
) -> None:
    """Only an empty recv() is: who takes an empty frame for it drops the connection that sent a keep-alive."""
    got: list[bytes] = []

    async def serve(stream: Stream) -> None:
        async for frame in stream.frames(framing):
            got.append(frame)
            stream.write(b".")
        stream.write(b"!")

    client = connect(listen(loop, serve))
    for piece in [bytes([byte]) for byte in wire] if piecemeal else [wire]:
        client.sendall(piece)
        loop.step(0.01)
    assert receive(loop, client, len(frames)) == b"." * len(frames)
    assert got == frames
    client.shutdown(1)
    assert receive_all(loop, client) == b"!"


def test_a_reply_survives_input_that_the_kernel_still_holds(loop: Reactor, connect: Any) -> None:
    """What was received into the inbox is read, to the kernel; only what is beyond its mark makes close() a reset."""

    async def serve(stream: Stream) -> None:
        await stream.readline()
        stream.write(b"r" * 3_000_000)

    client = connect(listen(loop, serve, linger_bytes=1 << 20))
    client.sendall(b"GET\n" + b"u" * 200_000)
    assert receive_all(loop, client) == b"r" * 3_000_000


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_takes_no_event_of_other_rows() -> None:
    """asyncio#347: an epoll set is shared over a fork, and what a child unregisters is lost to its parent."""
    printed = python(
        """
        import socket, threading
        from reactor import Reactor
        from reactor.socketserver import ForkingTCPServer, BaseRequestHandler

        async def echo(stream):
            while line := await stream.readline():
                stream.write(line)

        class Child(BaseRequestHandler):
            def handle(self):
                self.request.sendall(b"%d" % self.request.getblocking())  # and wait in it, which a blocking one does
                self.request.sendall(self.request.recv(10))

        def talk():
            rows = [socket.create_connection(echoes.address, 5) for _ in range(3)]
            for row in rows:
                row.sendall(b"before\\n")
                assert row.recv(10) == b"before\\n"
            children = [socket.create_connection(forking.address, 5) for _ in range(3)]
            print([child.recv(1) for child in children])
            for row in rows:  # while the children live
                row.sendall(b"while\\n")
                assert row.recv(10) == b"while\\n"
            for child in children:
                child.sendall(b"go")
                assert child.recv(10) == b"go"
                assert child.recv(10) == b""
            for row in rows:
                row.sendall(b"after\\n")
                print(row.recv(10))
            for sock in (*rows, *children):
                sock.close()

        with Reactor() as loop:
            echoes = loop.listen("tcp://127.0.0.1:0", echo)
            forking = loop.add(ForkingTCPServer(("127.0.0.1", 0), Child))
            def client():
                try:
                    talk()
                finally:
                    loop.stop()
            # A program that forks while it has another thread is warned; the client has to be one.
            import warnings
            warnings.simplefilter("ignore", DeprecationWarning)
            thread = threading.Thread(target=client)
            thread.start()
            loop.run()
            thread.join()
        """
    )
    assert printed.splitlines() == ["[b'1', b'1', b'1']", *["b'after\\n'"] * 3]
