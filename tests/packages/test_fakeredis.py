"""fakeredis's TcpFakeServer: a ThreadingTCPServer whose handler makes its descriptor non-blocking behind the socket's back.

Limits: in a greenlet a push (pub/sub, BLPOP) waits until the client says something, for the handler polls by reading a
descriptor that it has set O_NONBLOCK with fcntl, and a green read waits all the same · framed: it asks for the descriptor of
`rfile`, and a frame has none · its threads end when its `shutdown()` is called; the reactor that hosts it does not know that
and waits for them, so call it before the reactor closes.
"""

import threading
from pathlib import Path
from typing import Any

import pytest

from reactor import Lines
from tests.packages import served

redis: Any = pytest.importorskip("redis", reason=served.NEEDED)
fakeredis: Any = pytest.importorskip("fakeredis", reason=served.NEEDED)

pytestmark = pytest.mark.timeout(60)

WAYS: dict[str, dict[str, Any]] = {"default": {}, "greenlet": {"way": "greenlet"}}


def connect(port: int) -> Any:
    return redis.Redis("127.0.0.1", port, protocol=2, socket_timeout=served.PATIENCE_S)


def check_commands(port: int) -> None:
    with connect(port) as client, connect(port) as other:
        assert client.set("key", b"a\r\nb" * 1000)
        assert other.get("key") == b"a\r\nb" * 1000
        with client.pipeline(transaction=False) as pipeline:
            for _ in range(100):
                pipeline.incr("count")
            assert pipeline.execute() == list(range(1, 101))
        with client.pipeline(transaction=True) as pipeline:
            assert pipeline.incr("count").get("count").execute() == [101, b"101"]
        with pytest.raises(redis.ResponseError):
            client.lpush("key", 1)


def check_pushes(port: int) -> None:
    with connect(port) as client, connect(port) as other, client.pubsub() as subscribed:
        subscribed.subscribe("news")
        assert subscribed.get_message(timeout=served.PATIENCE_S)["type"] == "subscribe"
        assert other.publish("news", b"x") == 1
        assert subscribed.get_message(timeout=served.PATIENCE_S)["data"] == b"x"
        popped: list[Any] = []
        waiting = threading.Thread(target=lambda: popped.append(other.blpop("queue", served.PATIENCE_S)))
        waiting.start()
        client.rpush("queue", b"y")
        waiting.join()
        assert popped == [(b"queue", b"y")]


@served.every_way(WAYS)
def test_hosted(way: str) -> None:
    server = fakeredis.TcpFakeServer(("127.0.0.1", 0))
    with served.hosted(server, **WAYS[way]) as listener, served.silent_clients(listener.address):
        check_commands(listener.port)
        if way == "default":
            check_pushes(listener.port)
        server.shutdown()  # with connections open, whose threads look for it


def test_framed_it_finds_no_descriptor(capsys: Any) -> None:
    with served.hosted(fakeredis.TcpFakeServer(("127.0.0.1", 0)), framing=Lines()) as listener:
        assert served.exchange(listener.address, b"PING\r\n") == b""
    assert "io.UnsupportedOperation: fileno" in capsys.readouterr().err


def test_with_the_mixin() -> None:
    kind = served.with_mixin(fakeredis.TcpFakeServer)
    server = kind(("127.0.0.1", 0))
    with served.on_its_own(server), connect(server.server_address[1]) as client:
        check_commands(server.server_address[1])
        check_pushes(server.server_address[1])
        assert client.ping()
        server._shutdown_event.set()  # its own shutdown() is behind the mixin's


PROGRAM = """
    import socketserver, sys, threading
    from fakeredis import TcpFakeServer
    server = TcpFakeServer(("127.0.0.1", 0))
    assert isinstance(server, socketserver.BaseServer) and socketserver.__name__ == "reactor.socketserver"
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    import redis
    client = redis.Redis("127.0.0.1", server.server_address[1], protocol=2)
    assert client.ping()
    print("port", server.server_address[1])
    client.blpop("stop")
    server.shutdown()       # with a connection open, whose handler runs in a thread
    server.server_close()
    serving.join()
    print("it has ended")
"""


def test_substituted_it_shuts_down_with_clients(tmp_path: Path) -> None:
    with served.program(tmp_path, [served.script(tmp_path, PROGRAM)], options=[]) as running:
        port = int(running.until(r"port (\d+)"))
        with connect(port) as client:
            check_commands(port)
            check_pushes(port)
            client.rpush("stop", "now")
            assert "it has ended" in running.rest()
    assert running.process.returncode == 0, running.text
