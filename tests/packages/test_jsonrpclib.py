"""jsonrpclib-pelix: `SimpleJSONRPCServer`, and `PooledJSONRPCServer`, whose process_request gives requests to a pool."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.packages import served

jsonrpclib: Any = pytest.importorskip("jsonrpclib", reason=served.NEEDED)

from jsonrpclib.SimpleJSONRPCServer import SimpleJSONRPCServer  # noqa: E402

pytestmark = pytest.mark.timeout(60)


def make(kind: Any = SimpleJSONRPCServer) -> Any:
    server = kind(("127.0.0.1", 0), logRequests=False)
    server.register_function(lambda a, b: a + b, "add")
    server.register_function(lambda: 1 // 0, "fail")
    server.register_introspection_functions()
    return server


def check(address: served.Address) -> None:
    """Call, fail, batch, and call with an argument of a megabyte."""
    proxy = jsonrpclib.ServerProxy(served.url(address))
    try:
        assert proxy.add(1, 2) == 3
        assert "add" in proxy.system.listMethods()
        assert len(proxy.add("x" * 1_000_000, "y")) == 1_000_001
        with pytest.raises(jsonrpclib.ProtocolError):
            proxy.fail()
        batch = jsonrpclib.MultiCall(proxy)
        for number in range(10):
            batch.add(number, number)
        assert list(batch()) == list(range(0, 20, 2))
    finally:
        proxy("close")()


@served.every_way()
def test_hosted(way: str) -> None:
    with served.hosted(make(), **served.HTTP_WAYS[way]) as listener:
        check(listener.address)
        if way in served.FROZEN_BY_SILENCE:
            return
        with served.silent_clients(listener.address), ThreadPoolExecutor(4) as clients:
            for done in [clients.submit(check, listener.address) for _ in range(4)]:
                done.result()


@pytest.mark.parametrize("way", ["thread", "greenlet", "framed"])
def test_with_the_mixin(way: str) -> None:
    says = served.HTTP_WAYS[way] if way != "thread" else {}
    with served.on_its_own(make(served.with_mixin(SimpleJSONRPCServer, **says))) as server:
        check(server.server_address)


HOSTED_POOL = """
    import sys
    from jsonrpclib.SimpleJSONRPCServer import PooledJSONRPCServer
    from reactor import Reactor
    with Reactor() as loop:
        server = PooledJSONRPCServer(("127.0.0.1", 0), logRequests=False)
        server.register_function(lambda a, b: a + b, "add")
        print("port", loop.add(server).port)
        loop.run()                              # SIGTERM stops it
    print("it has ended")
"""

SUBSTITUTED_POOL = """
    import signal, socketserver, threading
    from jsonrpclib.SimpleJSONRPCServer import PooledJSONRPCServer
    server = PooledJSONRPCServer(("127.0.0.1", 0), logRequests=False)
    assert isinstance(server, socketserver.ThreadingMixIn) and socketserver.__name__ == "reactor.socketserver"
    server.register_function(lambda a, b: a + b, "add")
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    print("port", server.server_address[1])
    signal.sigwait({signal.SIGTERM})
    server.server_close()                       # which shuts it down, too
    serving.join()
    print("it has ended")
"""


def check_pool(folder: Path, source: str, options: list[str] | None) -> None:
    with served.program(folder, [served.script(folder, source)], options=options) as running:
        address = ("127.0.0.1", int(running.until(r"port (\d+)")))
        with served.silent_clients(address):
            proxy = jsonrpclib.ServerProxy(served.url(address))
            assert proxy.add(1, 2) == 3
            assert proxy.add(3, 4) == 7
            proxy("close")()
        running.process.terminate()
        assert "it has ended" in running.rest()
    assert running.process.returncode == 0


def test_a_pool_hosted(tmp_path: Path) -> None:
    """Its server_close calls shutdown, and socketserver's waits for a serve_forever that has never begun."""
    check_pool(tmp_path, HOSTED_POOL, None)


def test_a_pool_substituted(tmp_path: Path) -> None:
    check_pool(tmp_path, SUBSTITUTED_POOL, [])
