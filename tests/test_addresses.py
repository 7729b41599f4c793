"""Endpoints as people write them, and what becomes of a Unix path that is already there."""

import contextlib
import errno
import os
import pathlib
import socket
import stat
import sys
from collections.abc import Callable, Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reactor import Endpoint, Peer
from reactor.addresses import SUN_PATH_BYTES, as_text, identity, remove_stale, unlink_if_ours
from tests.properties import tries

unix_only = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets here")
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="abstract names are Linux's")
FORMS = ["tcp://127.0.0.1:8000", "udp://[::1]:53", "unix:///run/app.sock", "unix+dgram:///run/log.sock", "unix://@name"]


@pytest.fixture
def here(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """An empty working directory: relative paths always fit into a socket address."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def bind() -> Iterator[Callable[..., socket.socket]]:
    """Give a function that binds an endpoint; what it bound is closed at the end."""
    with contextlib.ExitStack() as stack:
        yield lambda text, backlog=5: stack.enter_context(Endpoint.parse(text).bind(backlog))


def connects(family: int, type_: int, address: object) -> bool:
    with socket.socket(family, type_) as client:
        try:
            client.connect(address)  # type: ignore[arg-type]
        except ConnectionRefusedError:
            return False
    return True


# -- parsing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "endpoint"),
    [
        ("tcp://127.0.0.1:8000", Endpoint("tcp", "inet", socket.SOCK_STREAM, "127.0.0.1", 8000)),
        ("tcp://0.0.0.0:0", Endpoint("tcp", "inet", socket.SOCK_STREAM, "0.0.0.0", 0)),
        ("tcp://localhost:65535", Endpoint("tcp", "inet", socket.SOCK_STREAM, "localhost", 65535)),
        ("tcp://[::1]:0", Endpoint("tcp", "inet", socket.SOCK_STREAM, "::1", 0)),
        ("udp://127.0.0.1:53", Endpoint("udp", "inet", socket.SOCK_DGRAM, "127.0.0.1", 53)),
        ("udp://[2001:db8::1]:53", Endpoint("udp", "inet", socket.SOCK_DGRAM, "2001:db8::1", 53)),
        ("unix:///run/app.sock", Endpoint("unix", "unix", socket.SOCK_STREAM, path="/run/app.sock")),
        ("unix://app.sock", Endpoint("unix", "unix", socket.SOCK_STREAM, path="app.sock")),
        ("unix+dgram:///run/log.sock", Endpoint("unix+dgram", "unix", socket.SOCK_DGRAM, path="/run/log.sock")),
        ("unix://@name", Endpoint("unix", "unix", socket.SOCK_STREAM, path="@name")),
        ("unix:///a b?c#d", Endpoint("unix", "unix", socket.SOCK_STREAM, path="/a b?c#d")),
    ],
)
def test_every_form_is_understood_and_written_back(text: str, endpoint: Endpoint) -> None:
    assert Endpoint.parse(text) == endpoint
    assert str(endpoint) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "127.0.0.1:8000",
        "http://127.0.0.1:8000",
        "TCP://127.0.0.1:8000",
        "tcp:127.0.0.1:8000",
        "tcp://",
        "tcp://127.0.0.1",
        "tcp://127.0.0.1:",
        "tcp://:8000",
        "tcp://::1:8000",
        "tcp://[::1:8000",
        "tcp://127.0.0.1:80x",
        "tcp://127.0.0.1:-1",
        "tcp://127.0.0.1:65536",
        "tcp://127.0.0.1:8000/",
        "tcp://127.0.0.1:8000/path",
        "tcp://127.0.0.1:8000?backlog=5",
        "tcp://127.0.0.1:8000#here",
        "tcp://127.0.0.1:8000\n",
        "tcp://user@127.0.0.1:8000",
        "tcp://" + "a" * 64 + ".example:80",
        "tcp://a..example:80",
        "udp://127.0.0.1",
        "unix://",
        "unix+dgram://",
        "unix:///run/a\0b",
    ],
)
def test_what_is_not_understood_is_answered_with_the_forms(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        Endpoint.parse(text)
    assert f"endpoint {text!r} is not understood" in str(caught.value)
    assert all(form in str(caught.value) for form in FORMS)


NAMES = st.from_regex(r"[a-z]([a-z0-9-]{0,10}[a-z0-9])?(\.[a-z]{1,5}){0,2}", fullmatch=True)
HOSTS = st.one_of(st.ip_addresses(v=4).map(str), st.ip_addresses(v=6).map(lambda ip: f"[{ip}]"), NAMES)
PATHS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=25)
INET = st.tuples(st.sampled_from(["tcp", "udp"]), HOSTS, st.integers(0, 65535)).map(lambda p: f"{p[0]}://{p[1]}:{p[2]}")
UNIX = st.tuples(st.sampled_from(["unix", "unix+dgram"]), PATHS).map("://".join)


@tries(200)
@given(INET | UNIX)
@example("tcp://[fe80::1%eth0]:80")
def test_what_is_in_order_is_written_as_it_was_read(text: str) -> None:
    endpoint = Endpoint.parse(text)
    assert str(endpoint) == text
    assert endpoint.type == (socket.SOCK_STREAM if endpoint.scheme in ("tcp", "unix") else socket.SOCK_DGRAM)
    assert (endpoint.family == "unix") == bool(endpoint.path) == (not endpoint.host)


SOUP = st.lists(
    st.sampled_from([*"/:@[]%?#.\\ \n\0xä", "tcp://", "unix://", "127.0.0.1", "::1", "80", "-1", "\uff10", "\u2177"])
    | st.text(max_size=2),
    max_size=8,
).map("".join)


@tries(500)
@given(st.sampled_from(["", "tcp://", "udp://127.0.0.1", "tcp://[", "unix://"]), SOUP)
def test_whatever_is_written_is_understood_or_answered_with_the_forms(start: str, rest: str) -> None:
    text = start + rest
    try:
        endpoint, answer = Endpoint.parse(text), ""
    except ValueError as error:
        endpoint, answer = None, str(error)
    if endpoint is None:
        assert repr(text) in answer
        assert all(form in answer for form in FORMS) or "the kernel takes at most" in answer
    else:
        assert Endpoint.parse(str(endpoint)) == endpoint
        assert 0 <= endpoint.port <= 65535
        assert endpoint.host or endpoint.path


@tries()
@given(st.text(max_size=20) | st.binary(max_size=20) | st.tuples(st.text(max_size=20), st.integers(0, 65535)))
def test_whoever_the_peer_is_he_has_one_line(sockaddr: object) -> None:
    assert str(Peer(sockaddr)).isprintable()


def test_a_path_that_no_kernel_takes_is_refused_with_its_length() -> None:
    longest = "/" + "x" * (SUN_PATH_BYTES - 2)
    assert Endpoint.parse(f"unix://{longest}").path == longest
    most = f"has {SUN_PATH_BYTES} bytes and the kernel takes at most {SUN_PATH_BYTES - 1}"
    with pytest.raises(ValueError, match=most):
        Endpoint.parse(f"unix://{longest}x")
    with pytest.raises(ValueError, match="relative to the working directory"):
        Endpoint.parse("unix:///" + "ä" * (SUN_PATH_BYTES // 2))


@pytest.mark.parametrize(
    ("sockaddr", "text", "host", "port"),
    [
        (("127.0.0.1", 80), "127.0.0.1:80", "127.0.0.1", 80),
        (("::1", 80, 0, 0), "[::1]:80", "::1", 80),
        ("/run/app.sock", "/run/app.sock", "", 0),
        (b"/run/\xff.sock", "/run/\\udcff.sock", "", 0),
        (b"\0name", "@name", "", 0),
        (b"\0\xff", "@\\xff", "", 0),
        ("", "", "", 0),
        (b"", "", "", 0),
        (None, "", "", 0),
        ((), "()", "", 0),
    ],
)
def test_a_peer_reads_as_people_write_it(sockaddr: object, text: str, host: str, port: int) -> None:
    peer = Peer(sockaddr)
    assert (str(peer), peer.host, peer.port) == (text, host, port)
    assert peer == Peer(sockaddr) != Peer("other")
    assert len({peer, Peer(sockaddr)}) == 1
    assert repr(peer) == f"Peer({sockaddr!r})"
    assert peer != sockaddr


@pytest.mark.parametrize("sockaddr", ["a\nrow 7 ended\x1b[2J\u202e\x85", b"\0a\nb\x1b[2J\xe2\x80\xae\xc2\x85"])
def test_what_a_peer_calls_itself_adds_no_line_to_a_log(sockaddr: object) -> None:
    assert str(Peer(sockaddr)).isprintable()
    assert "\\n" in str(Peer(sockaddr))


# -- binding: inet ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost"])
@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_port_0_is_a_free_port(bind: Callable[..., socket.socket], scheme: str, host: str) -> None:
    try:
        sock = bind(f"{scheme}://{host}:0")
    except OSError as error:
        if host == "[::1]" and error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, socket.EAI_ADDRFAMILY):
            pytest.skip("no IPv6 here")
        raise
    assert sock.getsockname()[1] > 0
    assert (sock.getblocking(), sock.get_inheritable()) == (False, False)
    assert sock.type == (socket.SOCK_STREAM if scheme == "tcp" else socket.SOCK_DGRAM)
    assert connects(sock.family, sock.type, sock.getsockname()[:2])


@pytest.mark.skipif(os.name != "posix", reason="never on Windows")
def test_a_restarted_server_gets_its_port_back(bind: Callable[..., socket.socket]) -> None:
    first = bind("tcp://127.0.0.1:0")
    port = first.getsockname()[1]
    with socket.create_connection(("127.0.0.1", port)):
        first.setblocking(True)
        first.accept()[0].close()  # our side closes first: it is in TIME_WAIT
        first.close()
    assert bind(f"tcp://127.0.0.1:{port}").getsockname()[1] == port


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("tcp://127.0.0.1:{port}", errno.EADDRINUSE),
        ("tcp://192.0.2.1:0", errno.EADDRNOTAVAIL),  # RFC 5737: nobody has it
        ("unix://no/such/folder/s.sock", errno.ENOENT),
    ],
)
def test_an_address_that_cannot_be_had_is_named(
    bind: Callable[..., socket.socket], text: str, number: int
) -> None:
    text = text.format(port=bind("tcp://127.0.0.1:0").getsockname()[1])
    with pytest.raises(OSError) as caught:
        bind(text)
    assert f"cannot listen at {text}: " in str(caught.value)
    assert caught.value.errno == number


def test_so_is_a_host_that_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*args: object, **keywords: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(socket.gaierror, match="cannot listen at tcp://nobody.example:80: Name or service not known"):
        Endpoint.parse("tcp://nobody.example:80").bind(5)


# -- binding: Unix ----------------------------------------------------------------------------------------------------

both_types = pytest.mark.parametrize("scheme", ["unix", "unix+dgram"])


@unix_only
@both_types
@pytest.mark.usefixtures("here")
def test_a_unix_path_serves(bind: Callable[..., socket.socket], scheme: str) -> None:
    sock = bind(f"{scheme}://s.sock")
    assert stat.S_ISSOCK(os.stat("s.sock").st_mode)
    assert connects(socket.AF_UNIX, sock.type, "s.sock")


@unix_only
@both_types
@pytest.mark.usefixtures("here")
def test_a_socket_that_nobody_serves_is_replaced(bind: Callable[..., socket.socket], scheme: str) -> None:
    for stale in ("unix", "unix+dgram"):
        bind(f"{stale}://s.sock").close()
        assert os.path.exists("s.sock")
        sock = bind(f"{scheme}://s.sock")
        assert connects(socket.AF_UNIX, sock.type, "s.sock")
        sock.close()


@unix_only
@both_types
@pytest.mark.parametrize("served_as", ["unix", "unix+dgram"])
@pytest.mark.usefixtures("here")
def test_a_socket_that_somebody_serves_is_left_alone(
    bind: Callable[..., socket.socket], scheme: str, served_as: str
) -> None:
    server = bind(f"{served_as}://s.sock")
    with pytest.raises(OSError, match="s.sock is served by another process") as caught:
        bind(f"{scheme}://s.sock")
    assert caught.value.errno == errno.EADDRINUSE
    assert connects(socket.AF_UNIX, server.type, "s.sock")


@unix_only
@pytest.mark.usefixtures("here")
def test_a_server_with_a_full_backlog_is_alive(bind: Callable[..., socket.socket]) -> None:
    bind("unix://s.sock", backlog=0)
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(BlockingIOError):
            for _ in range(100):
                client = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
                client.setblocking(False)
                client.connect("s.sock")
        with pytest.raises(OSError, match="served by another process"):
            bind("unix://s.sock")
    assert os.path.exists("s.sock")


@unix_only
@both_types
def test_what_is_no_socket_survives(bind: Callable[..., socket.socket], here: pathlib.Path, scheme: str) -> None:
    (here / "s.sock").write_text("precious")
    (here / "folder").mkdir()
    for name in ("s.sock", "folder"):
        with pytest.raises(OSError, match=f"{name} exists and is no socket") as caught:
            bind(f"{scheme}://{name}")
        assert caught.value.errno == errno.EADDRINUSE
    assert (here / "s.sock").read_text() == "precious"
    assert (here / "folder").is_dir()


@unix_only
@pytest.mark.skipif(os.name != "posix", reason="needs permissions")
@pytest.mark.usefixtures("here")
def test_a_path_that_cannot_be_tried_is_left_alone(
    bind: Callable[..., socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Denied(socket.socket):
        def connect(self, address: object) -> None:
            raise PermissionError(errno.EACCES, "Permission denied")

    bind("unix://s.sock")
    monkeypatch.setattr(socket, "socket", Denied)
    with pytest.raises(PermissionError, match="cannot listen at unix://s.sock: Permission denied"):
        Endpoint.parse("unix://s.sock").bind(5)
    assert os.path.exists("s.sock")


@unix_only
@pytest.mark.usefixtures("here")
def test_a_path_where_nothing_is_needs_no_removal() -> None:
    remove_stale("nothing.sock", socket.SOCK_STREAM)
    assert not os.path.exists("nothing.sock")


@linux_only
@both_types
@pytest.mark.usefixtures("here")
def test_an_abstract_name_leaves_no_file(bind: Callable[..., socket.socket], scheme: str) -> None:
    name = f"reactor-test-{os.getpid()}-{scheme}"
    sock = bind(f"{scheme}://@{name}")
    assert sock.getsockname() == b"\0" + name.encode()
    assert as_text(sock.getsockname()) == f"@{name}"
    assert os.listdir() == []
    assert identity(sock) is None
    assert connects(socket.AF_UNIX, sock.type, f"\0{name}")
    with pytest.raises(OSError, match="cannot listen at") as caught:
        bind(f"{scheme}://@{name}")
    assert caught.value.errno == errno.EADDRINUSE


@unix_only
@pytest.mark.usefixtures("here")
def test_at_close_the_path_is_removed_if_it_still_is_ours(bind: Callable[..., socket.socket]) -> None:
    ours = identity(bind("unix://s.sock"))
    assert ours is not None
    unlink_if_ours(ours)
    assert not os.path.exists("s.sock")
    unlink_if_ours(ours)
    unlink_if_ours(None)


@unix_only
@pytest.mark.usefixtures("here")
def test_of_two_servers_on_one_path_the_second_keeps_it(bind: Callable[..., socket.socket]) -> None:
    first = bind("unix://s.sock")
    ours = identity(first)
    os.unlink("s.sock")
    second = bind("unix://s.sock")
    unlink_if_ours(ours)
    assert connects(socket.AF_UNIX, second.type, "s.sock")
    unlink_if_ours(identity(second))
    assert not os.path.exists("s.sock")


@unix_only
def test_the_path_is_found_again_from_another_working_directory(
    bind: Callable[..., socket.socket], here: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = identity(bind("unix://s.sock"))
    monkeypatch.chdir("/")
    unlink_if_ours(ours)
    assert not (here / "s.sock").exists()


@unix_only
def test_what_is_not_bound_to_a_path_has_no_identity(bind: Callable[..., socket.socket]) -> None:
    assert identity(bind("tcp://127.0.0.1:0")) is None
    with socket.socket(socket.AF_UNIX) as unbound:
        assert identity(unbound) is None


def test_a_platform_without_unix_sockets_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "AF_UNIX")
    with pytest.raises(OSError, match="cannot listen at unix://s.sock: this platform has no Unix sockets"):
        Endpoint.parse("unix://s.sock").bind(5)
