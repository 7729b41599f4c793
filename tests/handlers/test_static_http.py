"""What the static HTTP service promises, asked by `http.client` and by sockets that do not keep to it."""

import contextlib
import http.client
import http.server
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reactor import End, Limits, Listener
from reactor.handlers import static_http
from reactor.handlers.static_http import StaticHttpHandler
from tests.handlers.conftest import PATIENCE_S, Client, Serving, read_all, read_exactly

# More than the outbox may hold (16 MiB), and no two pages of it are the same.
BIG = b"".join(number.to_bytes(4, "big") for number in range(6 * 1024 * 1024))


@pytest.fixture
def public(tmp_path: Path) -> Path:
    """Give the directory that is served; what is beside it must stay secret."""
    folder = tmp_path / "public"
    (folder / "sub").mkdir(parents=True)
    (folder / "hello.txt").write_bytes(b"hello\n")
    (folder / "sub" / "a <b>.txt").write_bytes(b"odd\n")
    (tmp_path / "secret.txt").write_bytes(b"secret\n")
    return folder


@pytest.fixture
def listener(serving: Serving, public: Path) -> Listener:
    """Give a service that runs."""
    listener = serving.listen("tcp", static_http.static_http(public, quiet=True))
    serving.start()
    return listener


@pytest.fixture
def client(listener: Listener) -> Iterator[http.client.HTTPConnection]:
    """Give a client that keeps its connection and leaves paths as they are."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", listener.port, timeout=PATIENCE_S)) as client:
        yield client


def ask(client: http.client.HTTPConnection, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes]:
    """Return status and body."""
    client.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    reply = client.getresponse()
    return reply.status, reply.read()


def get(*lines: bytes) -> bytes:
    """Return a request."""
    return b"\r\n".join([lines[0] + b" HTTP/1.1", b"Host: test", *lines[1:], b"", b""])


class TestFiles:
    def test_a_file_with_its_type_and_length(self, client: http.client.HTTPConnection) -> None:
        client.request("GET", "/hello.txt")
        reply = client.getresponse()
        assert (reply.status, reply.read()) == (200, b"hello\n")
        assert (reply.headers["Content-Type"], reply.headers["Content-Length"]) == ("text/plain", "6")

    def test_an_index_page_stands_for_its_directory(self, client: http.client.HTTPConnection, public: Path) -> None:
        (public / "index.html").write_bytes(b"<p>welcome")
        assert ask(client, "/") == (200, b"<p>welcome")

    def test_a_directory_without_one_is_listed_and_names_are_escaped(self, client: http.client.HTTPConnection) -> None:
        status, page = ask(client, "/sub/")
        assert status == 200
        assert b'<a href="a%20%3Cb%3E.txt">a &lt;b&gt;.txt</a>' in page
        assert ask(client, "/sub/a%20%3Cb%3E.txt") == (200, b"odd\n")

    def test_a_directory_without_a_slash_is_redirected(self, client: http.client.HTTPConnection) -> None:
        client.request("GET", "/sub")
        reply = client.getresponse()
        assert (reply.status, reply.headers["Location"], reply.read()) == (301, "/sub/", b"")

    def test_what_is_missing_is_404(self, client: http.client.HTTPConnection) -> None:
        assert ask(client, "/nothing.txt")[0] == 404

    def test_head_has_the_length_and_no_body(self, serving: Serving, listener: Listener, connect: Client) -> None:
        client = connect(listener)
        client.sendall(get(b"HEAD /hello.txt") + get(b"HEAD /hello.txt", b"Connection: close"))
        heads = read_all(client).split(b"\r\n\r\n")
        assert [b"Content-Length: 6" in head for head in heads] == [True, True, False]
        assert heads[2] == b""

    def test_a_file_that_has_not_changed_is_304(self, client: http.client.HTTPConnection, public: Path) -> None:
        client.request("GET", "/hello.txt")
        reply = client.getresponse()
        reply.read()
        assert ask(client, "/hello.txt", If_Modified_Since=reply.headers["Last-Modified"]) == (304, b"")
        os.utime(public / "hello.txt", (4e9, 4e9))
        assert ask(client, "/hello.txt", If_Modified_Since=reply.headers["Last-Modified"]) == (200, b"hello\n")

    def test_other_methods_are_refused_and_large_bodies_are_not_read(self, client: http.client.HTTPConnection) -> None:
        assert ask(client, "/hello.txt", "POST")[0] == 501
        client.close()
        assert ask(client, "/hello.txt", "PUT", Content_Length="65537")[0] == 413

    @pytest.mark.parametrize("field", [b"Content-Length: 36", b"Transfer-Encoding: chunked"])
    def test_a_body_is_no_request(self, listener: Listener, connect: Client, field: bytes) -> None:
        client = connect(listener)
        smuggled = get(b"GET /secret")
        assert len(smuggled) == 36
        body = b"24\r\n%b\r\n0\r\n\r\n" % smuggled if b"chunked" in field else smuggled
        client.sendall(get(b"GET /hello.txt", field) + body)
        reply = read_all(client)
        assert reply.count(b"HTTP/1.1 ") == 1
        assert reply.endswith(b"\r\n\r\nhello\n")


class TestConnections:
    def test_one_connection_serves_many(self, client: http.client.HTTPConnection, serving: Serving) -> None:
        assert [ask(client, path)[0] for path in ("/hello.txt", "/sub/", "/hello.txt", "/sub")] == [200, 200, 200, 301]
        assert [row.requests for row in serving.loop.snapshot(timeout_s=PATIENCE_S) if row.kind == "stream"] == [4]

    def test_a_client_of_http_1_0_is_hung_up_on(self, listener: Listener, connect: Client) -> None:
        client = connect(listener)
        client.sendall(b"GET /hello.txt HTTP/1.0\r\n\r\n")
        assert read_all(client).endswith(b"\r\n\r\nhello\n")

    def test_requests_in_one_packet_are_answered_in_order(self, listener: Listener, connect: Client) -> None:
        client = connect(listener)
        client.sendall(get(b"GET /hello.txt") + get(b"GET /sub") + get(b"GET /nothing"))  # an error closes
        replies = read_all(client).split(b"HTTP/1.1 ")
        assert [reply[:3] for reply in replies] == [b"", b"200", b"301", b"404"]

    @pytest.mark.parametrize("half", [b"", b"GET /hello.txt HT", get(b"GET /hello.txt")[:-2]])
    def test_a_client_that_is_silent_holds_nobody(
        self, listener: Listener, connect: Client, client: http.client.HTTPConnection, half: bytes
    ) -> None:
        silent = connect(listener)
        silent.sendall(half)
        assert ask(client, "/hello.txt") == (200, b"hello\n")
        silent.sendall(get(b"GET /hello.txt", b"Connection: close")[len(half) :])
        assert read_all(silent).endswith(b"\r\n\r\nhello\n")

    def test_a_large_file_reaches_a_slow_client_byte_by_byte_and_holds_nobody(
        self, serving: Serving, public: Path, connect: Client
    ) -> None:
        (public / "big").write_bytes(BIG)
        listener = serving.listen("tcp", static_http.static_http(public, quiet=True))
        serving.start()
        slow = connect(listener)
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        slow.sendall(get(b"GET /big", b"Connection: close"))
        with slow.makefile("rb") as reader:
            while reader.readline() != b"\r\n":
                pass
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", listener.port)) as other:
                assert ask(other, "/hello.txt") == (200, b"hello\n")
            (waiting,) = [row for row in serving.loop.snapshot(timeout_s=PATIENCE_S) if row.outbox_bytes]
            assert waiting.outbox_bytes > Limits().outbox_bytes  # so it must be on disk
            assert reader.read() == BIG
        serving.stop()
        assert list(serving.loop.table.ended) == []

    def test_a_file_that_is_too_large_for_the_disk_ends_its_connection_only(
        self, serving: Serving, public: Path, connect: Client, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (public / "big").write_bytes(BIG)
        limits = Limits(outbox_high_bytes=1000, outbox_low_bytes=1000, outbox_bytes=1000, spool_bytes=1 << 20)
        listener = serving.listen("tcp", static_http.static_http(public, quiet=True), limits=limits)
        serving.start()
        client = connect(listener)
        client.sendall(get(b"GET /big"))
        with pytest.raises(ConnectionResetError):  # half a reply must not look like a whole one
            read_all(client)
        another = connect(listener)
        another.sendall(get(b"GET /hello.txt", b"Connection: close"))
        assert read_all(another).endswith(b"hello\n")
        serving.stop()
        assert [row.end for row in serving.loop.table.ended] == [End.ABORTED]
        assert "spool_bytes" in capsys.readouterr().err


class TestWhatItMustNotDo:
    @pytest.mark.parametrize(
        "path",
        [
            "/../secret.txt", "/%2e%2e/secret.txt", "/sub/../../secret.txt", "/..%2fsecret.txt", "//../secret.txt",
            "/sub/%2e%2e/%2e%2e/%2e%2e/secret.txt", "/..\\secret.txt", "/%5c..%5csecret.txt", "/./../secret.txt",
        ],
    )  # fmt: skip
    def test_no_path_leaves_the_directory(self, client: http.client.HTTPConnection, path: str) -> None:
        status, body = ask(client, path)
        assert (status, b"secret\n" in body) == (404, False)

    def test_an_absolute_path_is_one_below_the_directory(self, client: http.client.HTTPConnection, tmp_path: Path) -> None:
        assert ask(client, f"/{tmp_path}/secret.txt")[0] == 404

    def test_a_symbolic_link_is_followed_wherever_it_leads(
        self, client: http.client.HTTPConnection, public: Path, tmp_path: Path
    ) -> None:
        (public / "link").symlink_to(tmp_path / "secret.txt")
        assert ask(client, "/link") == (200, b"secret\n")  # as documented: who may write here decides

    @pytest.mark.parametrize("path", ["/%00", "/hello.txt%00", "/%ed%b3%bf", "/" + "x" * 5000])
    def test_a_name_that_no_file_can_have_is_404(
        self, client: http.client.HTTPConnection, path: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert ask(client, path)[0] == 404
        assert capsys.readouterr().err == ""

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
    @pytest.mark.parametrize("name", ["pipe", "sub/index.html", "sub/index.htm"])
    def test_a_named_pipe_does_not_hold_the_loop(self, client: http.client.HTTPConnection, public: Path, name: str) -> None:
        os.mkfifo(public / name)
        assert ask(client, "/" + name.replace("index.html", "").replace("index.htm", ""))[0] == 404

    def test_a_device_is_not_read(self, client: http.client.HTTPConnection, public: Path) -> None:
        (public / "zero").symlink_to("/dev/zero")
        assert ask(client, "/zero")[0] == 404

    @pytest.mark.parametrize(("becomes", "sent"), [(b"hello\nHTTP/1.1 200 OK\r\n", b"hello\n"), (b"he", b"he")])
    def test_a_file_that_changes_meanwhile_makes_no_second_reply(
        self, serving: Serving, public: Path, connect: Client, becomes: bytes, sent: bytes
    ) -> None:
        class Changing(StaticHttpHandler):
            quiet = True

            def __init__(self, *args: Any) -> None:
                super().__init__(*args, directory=os.fspath(public))

            def end_headers(self) -> None:
                (public / "hello.txt").write_bytes(becomes)
                super().end_headers()

        listener = serving.listen("tcp", Changing)
        serving.start()
        client = connect(listener)
        client.sendall(get(b"GET /hello.txt"))
        reply = b""
        while not reply.endswith(b"\r\n\r\n"):
            reply += read_exactly(client, 1)
        assert read_exactly(client, len(sent)) == sent
        if len(becomes) > len(sent):
            client.sendall(get(b"GET /hello.txt", b"Connection: close"))
            assert read_all(client).startswith(b"HTTP/1.1 200 OK\r\nServer: ")
        else:
            assert read_all(client) == b""  # the connection has ended


class TestTheLog:
    def test_it_is_that_of_http_server_and_holds_no_control_characters(
        self, serving: Serving, public: Path, connect: Client, capsys: pytest.CaptureFixture[str]
    ) -> None:
        listener = serving.listen("tcp", static_http.static_http(public))
        serving.start()
        client = connect(listener)
        client.sendall(b"GET /hello.txt?\x1b[2Jforged HTTP/1.0\r\n\r\n")
        read_all(client)
        serving.stop()
        log = capsys.readouterr().err
        assert log.startswith("127.0.0.1 - - [")
        assert (log.count("\n"), "\x1b" in log) == (1, False)

    @pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")
    def test_a_client_without_an_address_is_a_dash(
        self, serving: Serving, public: Path, connect: Client, capsys: pytest.CaptureFixture[str]
    ) -> None:
        listener = serving.listen("unix", static_http.static_http(public))
        serving.start()
        client = connect(listener)
        client.sendall(b"GET /hello.txt HTTP/1.0\r\n\r\n")
        assert read_all(client).endswith(b"hello\n")
        serving.stop()
        assert capsys.readouterr().err.startswith("- - - [")

    def test_it_can_be_quiet(self, client: http.client.HTTPConnection, capsys: pytest.CaptureFixture[str]) -> None:
        ask(client, "/hello.txt")
        ask(client, "/nothing")
        assert capsys.readouterr().err == ""


def test_a_directory_that_is_none_is_an_error_at_once(public: Path) -> None:
    with pytest.raises(NotADirectoryError, match=r"static_http\('.*hello.txt'\): .* is no directory"):
        static_http.static_http(public / "hello.txt")


def test_a_relative_directory_means_what_it_meant(
    serving: Serving, public: Path, connect: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(public.parent)
    listener = serving.listen("tcp", static_http.static_http("public", quiet=True))
    monkeypatch.chdir("/")
    serving.start()
    client = connect(listener)
    client.sendall(b"GET /hello.txt HTTP/1.0\r\n\r\n")
    assert read_all(client).endswith(b"hello\n")


@pytest.mark.parametrize("way", ["thread", "greenlet"])
def test_it_runs_in_other_ways_too(serving: Serving, public: Path, connect: Client, way: str) -> None:
    if way == "greenlet":
        pytest.importorskip("greenlet")
    listener = serving.listen("tcp", static_http.static_http(public, quiet=True), way=way)
    serving.start()
    client = connect(listener)
    client.sendall(get(b"GET /hello.txt") + get(b"GET /hello.txt", b"Connection: close"))
    assert read_all(client).count(b"\r\n\r\nhello\n") == 2


def test_the_handler_of_http_server_is_not_changed() -> None:
    assert http.server.SimpleHTTPRequestHandler.protocol_version == "HTTP/1.0"
    assert "framing" not in vars(http.server.SimpleHTTPRequestHandler)
