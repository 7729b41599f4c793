"""`python -m reactor.socketserver PROGRAM` behaves as `python PROGRAM` does, except that socketserver is ours."""

import pathlib
import signal
import subprocess
import sys
import textwrap
import zipfile

import pytest

from reactor import Framing, HttpRequests, Lines, Raw
from reactor.errors import MissingExtraError
from reactor.substitute import UsageError, framing_named, install

pytestmark = pytest.mark.timeout(60)

ROOT = str(pathlib.Path(__file__).parents[1])
OURS = ["-m", "reactor.socketserver"]


def python(folder: pathlib.Path, *words: str, **options: str) -> subprocess.CompletedProcess[str]:
    """Run python in `folder`, with nothing but the library on its path."""
    return subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": ROOT, "PYTHONWARNINGS": "error", **options},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def program(folder: pathlib.Path, name: str, source: str) -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(textwrap.dedent(source))
    return name


# -- as python does -----------------------------------------------------------------------------------------------------

# Everything a program can see of how it was started. repr() of the loader has an address in it.
LOOK = """
    import sys, json
    import __main__
    print(__name__, __file__, __package__, type(__loader__).__name__, __spec__ and __spec__.name, __cached__, __doc__)
    print(sys.argv, sys.path[:2], __main__.__dict__ is globals(), __builtins__ is sys.modules["builtins"])
    print(sorted({*globals()} - {"__annotations__"}))
    def f(x: 1 + 1): pass
    print(f.__module__, f.__annotations__, sys.modules["__main__"].f is f)
"""


AT_EXIT = """
import atexit, sys
atexit.register(lambda: print(__name__, sys.modules["__main__"].__dict__ is globals()))
"""

# A thread that outlives the main one finds the program still there.
LATE_THREAD = """
import sys, threading
def late():
    threading.main_thread().join()
    print(sys.modules["__main__"].x)
x = 5
threading.Thread(target=late).start()
"""


def both(folder: pathlib.Path, *words: str) -> tuple[subprocess.CompletedProcess[str], subprocess.CompletedProcess[str]]:
    return python(folder, *words), python(folder, *OURS, *words)


def assert_same(folder: pathlib.Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The program does the same either way."""
    theirs, ours = both(folder, *words)
    assert (ours.stdout, ours.stderr, ours.returncode) == (theirs.stdout, without_runpy(theirs.stderr), theirs.returncode)
    return ours


def without_runpy(text: str) -> str:
    """A traceback without the lines of runpy, which `python -m` shows and `python SCRIPT` does not."""
    lines = text.splitlines(keepends=True)
    return "".join(line for line in lines if "<frozen runpy>" not in line)


@pytest.mark.parametrize(
    "words", [["look.py"], ["look.py", "-x", "--way", "thread", "--", "-m"], ["-m", "look", "--help", "a b"]]
)
def test_a_program_sees_what_it_expects(tmp_path: pathlib.Path, words: list[str]) -> None:
    program(tmp_path, "look.py", LOOK)
    assert assert_same(tmp_path, *words).returncode == 0


@pytest.mark.parametrize(
    "words", [["sub/look.py"], ["sub/package"], ["-m", "sub.package"], ["-m", "sub.package.__main__", "x"]]
)
def test_a_program_in_a_folder(tmp_path: pathlib.Path, words: list[str]) -> None:
    program(tmp_path, "sub/look.py", LOOK)
    program(tmp_path, "sub/package/__main__.py", LOOK)
    program(tmp_path, "sub/package/__init__.py", "")
    assert assert_same(tmp_path, *words).returncode == 0


def test_a_link_to_a_program(tmp_path: pathlib.Path) -> None:
    program(tmp_path, "sub/look.py", LOOK)
    (tmp_path / "link.py").symlink_to("sub/look.py")
    assert assert_same(tmp_path, "link.py").returncode == 0


def test_a_program_in_an_archive(tmp_path: pathlib.Path) -> None:
    with zipfile.ZipFile(tmp_path / "look.pyz", "w") as archive:
        archive.writestr("__main__.py", textwrap.dedent(LOOK))
    assert assert_same(tmp_path, "look.pyz", "x").returncode == 0


def test_a_module_in_one_word(tmp_path: pathlib.Path) -> None:
    program(tmp_path, "look.py", LOOK)
    assert_same(tmp_path, "-mlook", "x")


@pytest.mark.parametrize(
    ("source", "status"),
    [
        ("raise SystemExit", 0),
        ("import sys; sys.exit(7)", 7),
        ("import sys; sys.exit('no good')", 1),
        ("import sys; sys.exit(None)", 0),
        ("1 / 0", 1),
        ("def f():\n    raise ValueError('x') from KeyError('y')\nf()", 1),
        ("try:\n    1 / 0\nfinally:\n    undefined", 1),
        ("raise ExceptionGroup('several', [ValueError('x')])", 1),
        ("raise KeyboardInterrupt", -signal.SIGINT),
        ("import os; os._exit(5)", 5),
        ("x = = 1", 1),
        ("import missing_module", 1),
        ("import sys\nsys.excepthook = lambda *a: print('hook', a[0].__name__, a[2].tb_lineno)\nint('x')", 1),
        (AT_EXIT + "1 / 0", 1),
        (LATE_THREAD, 0),
    ],
)
def test_a_program_ends_as_it_would(tmp_path: pathlib.Path, source: str, status: int) -> None:
    program(tmp_path, "end.py", source)
    assert assert_same(tmp_path, "end.py").returncode == status


def test_a_traceback_of_a_module_begins_in_the_module(tmp_path: pathlib.Path) -> None:
    program(tmp_path, "end.py", "1 / 0")
    assert assert_same(tmp_path, "-m", "end").returncode == 1


def test_a_module_that_fails_while_it_is_looked_for(tmp_path: pathlib.Path) -> None:
    program(tmp_path, "package/__init__.py", "import missing_module")
    ended = python(tmp_path, *OURS, "-m", "package.program")
    assert (ended.returncode, ended.stderr.splitlines()[-1]) == (1, "ModuleNotFoundError: No module named 'missing_module'")


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (["missing.py"], 2, "can't open file '{folder}/missing.py': [Errno 2] No such file or directory"),
        (["-m", "missing"], 1, "No module named missing that can be run"),
        (["-m", "missing.inner"], 1, "No module named missing.inner that can be run"),
        (["-m", "empty"], 1, "No module named empty that can be run"),
    ],
)
def test_a_program_that_is_not_there(tmp_path: pathlib.Path, words: list[str], status: int, text: str) -> None:
    program(tmp_path, "empty/__init__.py", "")
    ended = python(tmp_path, *OURS, *words)
    assert (ended.returncode, ended.stderr) == (status, f"python -m reactor.socketserver: {text.format(folder=tmp_path)}\n")


def test_the_safe_path_stays_safe(tmp_path: pathlib.Path) -> None:
    program(tmp_path, "look.py", "import sys; print(sys.path[0])")
    assert python(tmp_path, "-P", *OURS, "look.py").stdout == python(tmp_path, "-P", "look.py").stdout


# -- except that socketserver is ours -----------------------------------------------------------------------------------

SERVE = """
    import http.server, socketserver, sys, threading, urllib.request
    from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            name = type(self.request).__name__
            self.wfile.write(f"{name} {threading.current_thread().name}".encode())
        def log_message(self, *args): pass

    kind = getattr(http.server, sys.argv[1])
    with kind(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever, name="serving")
        serving.start()
        print(urllib.request.urlopen("http://127.0.0.1:%d/" % server.server_port).read().decode())
        server.shutdown()
        serving.join()
    import reactor.socketserver
    print(socketserver is reactor.socketserver, reactor.socketserver.TCPServer in HTTPServer.__mro__)
    print(sorted({each.__module__ for each in HTTPServer.__mro__}))
"""


@pytest.mark.parametrize(
    ("options", "kind", "served"),
    [
        (["--way", "inline"], "HTTPServer", "socket serving"),
        (["--way=inline"], "HTTPServer", "socket serving"),
        (["--way", "framed", "--framing", "http"], "HTTPServer", "FramedRow serving"),
        (["--framing=http"], "HTTPServer", "FramedRow serving"),
        (["--framing", "reactor:HttpRequests"], "HTTPServer", "FramedRow serving"),
        (["--way", "inline"], "ThreadingHTTPServer", "socket Thread-"),
        (["--framing", "http"], "ThreadingHTTPServer", "socket Thread-"),
    ],
)
def test_an_unmodified_program_is_served_by_us(tmp_path: pathlib.Path, options: list[str], kind: str, served: str) -> None:
    program(tmp_path, "serve.py", SERVE)
    ended = python(tmp_path, *OURS, *options, "serve.py", kind)
    assert ended.stderr == ""
    first, *rest = ended.stdout.splitlines()
    assert first.startswith(served)
    assert rest[0] == "True True"
    assert "'socketserver'" not in rest[1]
    assert "'__main__'" not in rest[1]


def test_greenlets_in_an_unmodified_program(tmp_path: pathlib.Path) -> None:
    pytest.importorskip("greenlet")
    program(tmp_path, "serve.py", SERVE)
    ended = python(tmp_path, *OURS, "--way", "greenlet", "serve.py", "HTTPServer", PYTHONPATH=":".join([ROOT, *sys.path]))
    assert ended.stderr == ""
    assert ended.stdout.splitlines()[0].endswith(" serving")


def test_a_framing_of_the_program_may_be_built_on_http_server(tmp_path: pathlib.Path) -> None:
    program(tmp_path, "mine.py", "import http.server, reactor\ndef framing(): return reactor.HttpRequests(head_bytes=999)")
    program(tmp_path, "serve.py", SERVE)
    ended = python(tmp_path, *OURS, "--framing", "mine:framing", "serve.py", "HTTPServer")
    assert ended.stdout.startswith("FramedRow serving"), ended.stderr


def test_without_a_way_a_plain_server_is_inline_and_warns(tmp_path: pathlib.Path) -> None:
    program(tmp_path, "serve.py", SERVE)
    ended = python(tmp_path, *OURS, "serve.py", "HTTPServer", PYTHONWARNINGS="default")
    assert ended.stdout.startswith("socket serving")
    assert ended.stderr.count("BlockingHandlerWarning: serve_forever: HTTPServer") == 1


def test_a_class_keeps_the_way_that_it_names(tmp_path: pathlib.Path) -> None:
    program(tmp_path, "own.py", SERVE.replace("kind = ", "HTTPServer.way = 'thread'\n    kind = "))
    ended = python(tmp_path, *OURS, "--framing", "http", "own.py", "HTTPServer")
    assert ended.stdout.startswith("socket Thread-"), ended.stderr


def test_there_is_one_set_of_classes(tmp_path: pathlib.Path) -> None:
    program(
        tmp_path,
        "one.py",
        """
        import atexit, importlib, socketserver, sys
        ours = importlib.import_module("reactor.socketserver")
        assert socketserver is ours and socketserver.__name__ == "reactor.socketserver"
        assert not hasattr(sys.modules["__main__"], "TCPServer")
        assert ours.ThreadingTCPServer.__module__ == "reactor.socketserver", ours.ThreadingTCPServer
        def others():
            return {each.__module__ for each in ours.ThreadingMixIn.__subclasses__()} & {"__main__"}
        assert not others()
        atexit.register(lambda: print("others:", others()))
        """,
    )
    ended = python(tmp_path, *OURS, "one.py")
    assert (ended.stdout, ended.stderr, ended.returncode) == ("others: set()\n", "", 0)


# -- the options --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "name a program"),
        (["-m"], "name a program"),
        (["--way", "inline"], "name a program"),
        (["--way"], "expected one argument"),
        (["--way", "magic", "x.py"], "magic"),
        (["--way", "coroutine", "x.py"], "coroutine"),
        (["--wa", "inline", "x.py"], "unrecognized arguments: --wa"),
        (["--way", "framed", "x.py"], "way 'framed' needs a framing, which says when a request is complete: --framing http"),
        (["--way", "greenlet", "--framing", "http", "x.py"], "drop one of the two"),
        (["--framing", "smtp", "x.py"], "framing 'smtp': one of http, lines, raw, or module:attribute"),
        (["--framing", "nowhere:x", "x.py"], "ModuleNotFoundError: No module named 'nowhere'"),
        (["--framing", "reactor:Nothing", "x.py"], "AttributeError"),
        (["--framing", "os:sep", "x.py"], "not a Framing"),
    ],
)
def test_options_that_cannot_be_obeyed(tmp_path: pathlib.Path, words: list[str], text: str) -> None:
    ended = python(tmp_path, *OURS, *words)
    assert ended.returncode == 2
    assert text in ended.stderr.splitlines()[-1]
    assert "Traceback" not in ended.stderr


def test_help(tmp_path: pathlib.Path) -> None:
    ended = python(tmp_path, *OURS, "--help")
    assert ended.returncode == 0
    for word in ("--way", "--framing", "SCRIPT", "-m MODULE", "greenlet", "ThreadingMixIn"):
        assert word in ended.stdout


def test_a_missing_greenlet_is_one_line(tmp_path: pathlib.Path) -> None:
    program(tmp_path, "x.py", "")
    ended = python(tmp_path, "-S", *OURS, "--way", "greenlet", "x.py")  # -S: no site-packages
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1].endswith("needs the package greenlet: pip install 'socketreactor[greenlet]'")


def test_what_was_built_on_the_standard_module_is_named(tmp_path: pathlib.Path) -> None:
    program(tmp_path, "holder.py", "import socketserver")
    program(tmp_path, "early.py", "import holder, http.server\nfrom reactor.substitute import install\ninstall()")
    ended = python(tmp_path, "early.py")
    assert "for holder, http.server has been imported with it" in ended.stderr


def test_the_standard_module_alone_does_no_harm(tmp_path: pathlib.Path) -> None:
    program(
        tmp_path,
        "early.py",
        """
        import sys
        def early():
            import socketserver
        early()
        from reactor.substitute import install
        ours = install("inline")
        assert install("inline") is ours  # twice is no harm
        import http.server
        print(http.server.socketserver is ours, ours.TCPServer.way_if_plain)
        """,
    )
    ended = python(tmp_path, "early.py")
    assert (ended.stdout, ended.stderr) == ("True inline\n", "")


class _Made:
    framing = Lines(max_bytes=7)


@pytest.mark.parametrize(
    ("text", "kind"),
    [("http", HttpRequests), ("lines", Lines), ("raw", Raw), ("reactor:Lines", Lines), (f"{__name__}:_Made.framing", Lines)],
)
def test_framings_have_names(text: str, kind: type[Framing[object]]) -> None:
    assert type(framing_named(text)) is kind


def test_install_refuses_what_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="way 'framed' needs a framing"):
        install("framed")
    with pytest.raises(UsageError, match="way 'coroutine'"):
        install("coroutine")
    with pytest.raises(UsageError, match="not 'thread'"):
        install("thread", Lines())
    monkeypatch.setitem(sys.modules, "greenlet", None)
    with pytest.raises(MissingExtraError, match="pip install"):
        install("greenlet")
