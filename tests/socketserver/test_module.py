"""The module as a whole: its names, its class diagram, its defaults, and what importing it costs."""

import inspect
import os
import socket
import socketserver as standard
import subprocess
import sys
from typing import Any

import pytest

from tests.socketserver.harness import MODULE_NAME, socketserver

SERVERS = [name for name in standard.__all__ if name.endswith("Server")]
CLASSES = list(standard.__all__)


def run_python(code: str) -> str:
    """Run code in a fresh interpreter that finds the same modules, and return what it printed."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=20)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_all_is_exactly_the_standard_librarys() -> None:
    assert sorted(socketserver.__all__) == sorted(standard.__all__)


def test_all_names_are_written_out_here_too() -> None:
    expected = {
        "BaseServer", "TCPServer", "UDPServer", "UnixStreamServer", "UnixDatagramServer",
        "ThreadingMixIn", "ThreadingTCPServer", "ThreadingUDPServer",
        "ThreadingUnixStreamServer", "ThreadingUnixDatagramServer",
        "ForkingMixIn", "ForkingTCPServer", "ForkingUDPServer",
        "BaseRequestHandler", "StreamRequestHandler", "DatagramRequestHandler",
    }  # fmt: skip
    if sys.version_info >= (3, 12):
        expected |= {"ForkingUnixStreamServer", "ForkingUnixDatagramServer"}
    if hasattr(os, "fork") and hasattr(socket, "AF_UNIX"):
        assert set(socketserver.__all__) == expected


@pytest.mark.parametrize("name", CLASSES)
def test_every_name_is_a_class_of_that_name(name: str) -> None:
    found = getattr(socketserver, name)
    assert isinstance(found, type)
    assert found.__name__ == name


def lineage(module: Any, name: str) -> list[str]:
    return [base.__name__ for base in getattr(module, name).__mro__ if base.__name__ in CLASSES]


@pytest.mark.parametrize("name", CLASSES)
def test_class_diagram_is_the_standard_librarys(name: str) -> None:
    assert lineage(socketserver, name) == lineage(standard, name)


@pytest.mark.parametrize("name", [name for name in SERVERS if name.startswith(("Threading", "Forking"))])
def test_mixin_comes_first(name: str) -> None:
    mixin = "ThreadingMixIn" if name.startswith("Threading") else "ForkingMixIn"
    assert lineage(socketserver, name)[1] == mixin


@pytest.mark.parametrize(
    ("name", "attribute", "value"),
    [
        ("BaseServer", "timeout", None),
        ("TCPServer", "address_family", socket.AF_INET),
        ("TCPServer", "socket_type", socket.SOCK_STREAM),
        ("TCPServer", "request_queue_size", 5),
        ("TCPServer", "allow_reuse_address", False),
        ("TCPServer", "allow_reuse_port", False),
        ("UDPServer", "address_family", socket.AF_INET),
        ("UDPServer", "socket_type", socket.SOCK_DGRAM),
        ("UDPServer", "max_packet_size", 8192),
        ("UDPServer", "allow_reuse_address", False),
        ("UDPServer", "allow_reuse_port", False),
        ("UnixStreamServer", "address_family", getattr(socket, "AF_UNIX", None)),
        ("UnixStreamServer", "socket_type", socket.SOCK_STREAM),
        ("UnixDatagramServer", "address_family", getattr(socket, "AF_UNIX", None)),
        ("UnixDatagramServer", "socket_type", socket.SOCK_DGRAM),
        ("ForkingMixIn", "timeout", 300),
        ("ForkingMixIn", "max_children", 40),
        ("ForkingMixIn", "active_children", None),
        ("ForkingMixIn", "block_on_close", True),
        ("ForkingTCPServer", "timeout", 300),
        ("ThreadingMixIn", "daemon_threads", False),
        ("ThreadingMixIn", "block_on_close", True),
        ("ThreadingTCPServer", "timeout", None),
        ("StreamRequestHandler", "rbufsize", -1),
        ("StreamRequestHandler", "wbufsize", 0),
        ("StreamRequestHandler", "timeout", None),
        ("StreamRequestHandler", "disable_nagle_algorithm", False),
    ],
)
def test_default(name: str, attribute: str, value: object) -> None:
    if name not in CLASSES:
        pytest.skip("this platform has no such class")
    assert getattr(getattr(socketserver, name), attribute) == value


def public_functions(name: str) -> list[str]:
    found = getattr(standard, name)
    return [key for key, value in inspect.getmembers(found, callable) if not key.startswith("_")] + ["__init__"]


def parameters(module: Any, name: str, function: str) -> list[tuple[str, Any, Any]]:
    signature = inspect.signature(getattr(getattr(module, name), function))
    return [(each.name, each.kind, each.default) for each in signature.parameters.values()]


@pytest.mark.parametrize(
    ("name", "function"), [(name, function) for name in CLASSES for function in public_functions(name)]
)
def test_hook_can_be_called_as_in_the_standard_library(name: str, function: str) -> None:
    if getattr(getattr(standard, name), function) is object.__init__:
        return  # a mixin has no constructor of its own
    # Ours may take more, as long as it is optional and comes after.
    expected = parameters(standard, name, function)
    found = parameters(socketserver, name, function)
    assert found[: len(expected)] == expected
    assert all(default is not inspect.Parameter.empty for _, _, default in found[len(expected) :])


def test_import_works_where_nothing_may_start() -> None:
    code = f"""
import os, signal, socket, threading
def refuse(*args, **kwargs):
    raise RuntimeError("not at import")
os.fork = threading.Thread.start = socket.socketpair = signal.signal = refuse
import {MODULE_NAME}
import sys
print("ssl" in sys.modules, threading.active_count())
"""
    assert run_python(code).split() == ["False", "1"]


def test_construction_starts_nothing_either() -> None:
    code = f"""
import os, signal, socket, threading
import {MODULE_NAME} as socketserver
def refuse(*args, **kwargs):
    raise RuntimeError("not at construction")
os.fork = threading.Thread.start = socket.socketpair = signal.signal = refuse
class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(b"served")
with socketserver.TCPServer(("127.0.0.1", 0), Handler) as server:
    with socket.create_connection(server.server_address) as client:
        server.handle_request()
        print(client.recv(100))
"""
    assert run_python(code).strip() == "b'served'"


@pytest.mark.parametrize("missing", ["os.fork", "socket.AF_UNIX", "both"])
def test_names_follow_the_platform(missing: str) -> None:
    names = ["os.fork", "socket.AF_UNIX"] if missing == "both" else [missing]
    code = f"""
import os, socket
{"; ".join("del " + name for name in names)}
import socketserver as standard
import {MODULE_NAME} as ours
assert sorted(ours.__all__) == sorted(standard.__all__), sorted(set(ours.__all__) ^ set(standard.__all__))
print(all(hasattr(ours, name) for name in ours.__all__))
"""
    assert run_python(code).strip() == "True"
