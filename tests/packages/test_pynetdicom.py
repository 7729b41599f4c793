"""pynetdicom: a handler that gives its socket to a thread of its own and returns, so nobody may shut it down.

Its plain AssociationServer overrides process_request, its threaded one process_request_thread, each to leave out the
shutdown. Limits: framed cannot serve it, for the socket has to outlive the handler.
"""

from pathlib import Path
from typing import Any

import pytest

from tests.packages import served

pynetdicom: Any = pytest.importorskip("pynetdicom", reason=served.NEEDED)

from pynetdicom import AE  # noqa: E402
from pynetdicom.sop_class import Verification  # noqa: E402
from pynetdicom.transport import AssociationServer, ThreadedAssociationServer  # noqa: E402

pytestmark = pytest.mark.timeout(60)


def make(kind: Any) -> Any:
    entity = AE()
    entity.add_supported_context(Verification)
    return kind(entity, ("127.0.0.1", 0), "SERVED", entity.supported_contexts)


def check(address: served.Address) -> None:
    """Two associations at a time, each with two echoes."""
    entity = AE()
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = served.PATIENCE_S
    entity.add_requested_context(Verification)
    associations = [entity.associate(*address) for _ in range(2)]
    for association in associations * 2:
        assert association.is_established
        assert association.send_c_echo().Status == 0
    for association in associations:
        association.release()
        association.join(served.PATIENCE_S)


@pytest.mark.parametrize("way", ["inline", "thread", "greenlet"])
def test_hosted(way: str) -> None:
    with served.hosted(make(AssociationServer), way=way) as listener:
        check(listener.address)


def test_hosted_with_its_own_mixin() -> None:
    with served.hosted(make(ThreadedAssociationServer)) as listener:
        check(listener.address)


PROGRAM = """
    import signal, socketserver, sys
    from pynetdicom import AE
    from pynetdicom.sop_class import Verification
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    entity = AE()
    entity.add_supported_context(Verification)
    if sys.argv[1] == "block":
        server = entity.make_server(("127.0.0.1", 0))
        print("port", server.server_address[1])
        server.serve_forever()
    server = entity.start_server(("127.0.0.1", 0), block=False)
    assert isinstance(server, socketserver.ThreadingMixIn) and socketserver.__name__ == "reactor.socketserver"
    print("port", server.server_address[1])
    signal.sigwait({signal.SIGTERM})
    entity.shutdown()
    print("it has ended")
"""


@pytest.mark.parametrize("how", ["block", "thread"])
def test_substituted(how: str, tmp_path: Path) -> None:
    words = [served.script(tmp_path, PROGRAM), how]
    with served.program(tmp_path, words, options=["--way", "inline"]) as running:
        check(("127.0.0.1", int(running.until(r"port (\d+)"))))
        if how == "thread":
            running.process.terminate()
            assert "it has ended" in running.rest()  # by its shutdown(), which also closes the server
            assert running.process.returncode == 0
