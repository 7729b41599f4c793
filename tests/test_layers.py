"""Which file may import which; who may touch clock, selector, sockets, threads and fork; how long code may be."""

import ast
import pathlib
import sys
from collections.abc import Iterator
from typing import NamedTuple

import pytest

# A file imports only from the floors below its own and, on its own floor, from the files to the left of it.
# Under `if TYPE_CHECKING:` it may also import from the right of its own floor, but never from above.
FLOORS = [
    "errors limits phases clock",
    "buffers needs framing framings http_heads http_framing deadlines timers",
    "permissions addresses accepted snapshots observers table transports unsent spools recording",
    "demultiplexer",
    "budget listening reserve acceptor connections settling streams datagrams detached waker taps recorder",
    "signals drain quarantine stages loop",
    "coroutines handled coroutine_streams async_handlers frame_files quick_files framed_sockets quick_handlers framed "
    "offload mixins "
    "green_handlers green_rows green_lookup green_common green_sockets green_tls greening",
    "listeners ways hooks http_handlers stock_handlers guests handshakes hosting stream_hosts greenlet_hosts attaching",
    "request_handlers serving base_server servers socketserver substitute",
    "reactor",
    "__init__",
]
# Sub-packages above all floors: they may import any file of reactor/, and no file of a floor may import them.
ABOVE = {"operate", "testing", "handlers"}

# Who may import what the engine gets through its constructor or must not depend on. A handful of files is the point.
IMPORTED_ONLY_BY = {
    "time": {"clock"},
    "selectors": {"demultiplexer"},
    "select": {"demultiplexer"},
    "threading": {"offload", "mixins"},
    "_thread": {"offload", "mixins"},
}
# Extras, and who may import them: everything else runs without.
EXTRAS = {"greenlet": {"green_handlers", "ways"}}
FORK_NAMED_BY = {"offload", "mixins"}
SOCKETS_MADE_BY = {
    *FLOORS[2].split(),
    "reserve",  # one, which is never bound or connected
    "waker",
    "green_common",  # an object for a descriptor that there is already: its row closes it
    "servers",  # socketserver's BaseServer makes its listening socket in __init__, where subclasses expect it
}
SOCKET_MAKERS = {"socket", "socketpair", "create_server", "create_connection", "fromfd"}

# What an example may import of the library; handlers may import the first two and, relatively, each other.
PUBLIC = ["reactor", "reactor.socketserver", "reactor.handlers", "reactor.operate", "reactor.testing"]

FILE_LINES, FUNCTION_LINES = 330, 50

ROOT = pathlib.Path(__file__).parents[1]
RANKS = {name: (floor, place) for floor, names in enumerate(FLOORS) for place, name in enumerate(names.split())}


class Import(NamedTuple):
    line: int
    module: str  # absolute
    name: str  # what `from module import name` takes, or ""
    relative: bool
    for_types: bool  # under `if TYPE_CHECKING:`


def imports(tree: ast.AST, package: str, for_types: bool = False) -> Iterator[Import]:
    """Every import in the tree, also those in functions; `package` is what the relative ones start from."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'":
            continue  # a program, which nobody imports: it stands above all floors
        if isinstance(node, ast.Import):
            yield from (Import(node.lineno, alias.name, "", False, for_types) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*start, *filter(None, [node.module])])
            yield from (
                Import(node.lineno, module, alias.name, bool(node.level), for_types) for alias in node.names
            )
        elif isinstance(node, ast.Call) and called(node) in ("__import__", "import_module"):
            if node.args and isinstance(node.args[0], ast.Constant):
                yield Import(node.lineno, str(node.args[0].value), "", False, for_types)
            else:
                yield Import(node.lineno, "?", "", False, for_types)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            yield from imports(ast.Module(node.body, []), package, True)
            yield from imports(ast.Module(node.orelse, []), package, for_types)
        else:
            yield from imports(node, package, for_types)


def called(call: ast.Call) -> str:
    """The last name of what is called: `socketpair` for `socket.socketpair()`."""
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def core_violations(path: pathlib.Path, reactor: pathlib.Path) -> list[str]:
    """What a file of reactor/ itself does that its floor may not."""
    parts = path.relative_to(reactor).with_suffix("").parts
    own = parts[0]
    tree = ast.parse(path.read_text())
    if len(parts) > 1 and own not in ABOVE:
        return [f"1: {own}/ is no sub-package that FLOORS or ABOVE knows"]
    if len(parts) == 1 and own not in RANKS:
        return [f"1: {own} has no floor: give it one in FLOORS"]
    found = [*size_violations(tree, path)]
    for item in imports(tree, ".".join(["reactor", *parts[:-1]])):
        top = item.module.partition(".")[0]
        if top == "reactor":
            target = file_imported(item)
            if own in ABOVE:
                if target in ABOVE - {own}:
                    found.append(f"{item.line}: {own} imports {target}")
            elif not is_below(target, own, item.for_types):
                found.append(f"{item.line}: {own} imports {target}, which is not below it")
        elif own == "testing" and top == "pytest":
            pass  # its fixtures
        elif own in EXTRAS.get(top, ()) or (own == "testing" and top == "?"):
            pass  # (what `python -m reactor.testing fuzz module:Handler` names)
        elif top not in sys.stdlib_module_names and not item.for_types:
            found.append(f"{item.line}: {own} imports {item.module}, which is not in the standard library")
        if own not in IMPORTED_ONLY_BY.get(top, {own}) and own != "testing":
            found.append(f"{item.line}: {own} imports {top}; only {sorted(IMPORTED_ONLY_BY[top])} may")
    return found + call_violations(tree, own)


def file_imported(item: Import) -> str:
    """The file (or sub-package) of reactor/ that an import reaches for; `from . import x` is for x if x is a file."""
    inside = item.module.split(".")[1:] or [item.name]
    return inside[0] if inside[0] in RANKS or inside[0] in ABOVE or item.module != "reactor" else "__init__"


def is_below(target: str, own: str, for_types: bool) -> bool:
    if target not in RANKS or target == own:
        return False
    return RANKS[target][0] <= RANKS[own][0] if for_types else RANKS[target] < RANKS[own]


def call_violations(tree: ast.AST, own: str) -> list[str]:
    """Sockets made and processes forked in a file that should not."""
    found = []
    modules = {"socket"} | {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
        if alias.name == "socket"
    }
    makers = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "socket"
        for alias in node.names
        if alias.name in SOCKET_MAKERS
    }
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id=module), attr=maker)):
                made = module in modules and maker in SOCKET_MAKERS
            case ast.Call(func=ast.Name(id=maker)):
                made = maker in makers
            case _:
                made = False
        line = getattr(node, "lineno", 0)
        if made and own not in SOCKETS_MADE_BY and own != "testing":
            found.append(f"{line}: {own} makes a socket")
        forks = (isinstance(node, ast.Attribute) and node.attr == "fork") or (
            isinstance(node, ast.alias) and node.name == "fork"
        )
        if forks and own not in FORK_NAMED_BY:
            found.append(f"{line}: {own} names fork")
    return found


def size_violations(tree: ast.AST, path: pathlib.Path) -> Iterator[str]:
    lines = path.read_text().count("\n")
    if lines > FILE_LINES:
        yield f"1: {lines} lines, over {FILE_LINES}"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
            length = node.end_lineno - node.lineno + 1
            if length > FUNCTION_LINES:
                yield f"{node.lineno}: {node.name} has {length} lines, over {FUNCTION_LINES}"


def guest_violations(path: pathlib.Path, top: pathlib.Path) -> list[str]:
    """What a file of handlers/ or examples/ imports that is not public."""
    is_handler = top.name == "handlers"
    package = ".".join(["reactor.handlers", *path.relative_to(top).parts[:-1]])
    tree = ast.parse(path.read_text())
    found = [*size_violations(tree, path)] if is_handler else []
    for item in imports(tree, package):
        if item.relative:
            fine = is_handler and item.module.startswith("reactor.handlers")
        elif item.module.partition(".")[0] == "reactor":
            fine = is_public(item, PUBLIC[:2] if is_handler else PUBLIC)
        else:
            fine = item.module.partition(".")[0] in sys.stdlib_module_names
        if not fine:
            found.append(f"{item.line}: imports {' '.join(filter(None, [item.module, item.name]))}")
    return found


def is_public(item: Import, public: list[str]) -> bool:
    """Whether an import of the library is of a public module, or of a name in one that is no private module."""
    if item.module == "reactor":
        return (item.name not in RANKS and item.name not in ABOVE) or f"reactor.{item.name}" in public
    # A protocol has a file of its own in handlers/, and that is public too; nothing else below a public module is.
    return item.module in public or ("reactor.handlers" in public and item.module.startswith("reactor.handlers."))


def sources(folder: str) -> list[pathlib.Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def names(path: pathlib.Path) -> str:
    return str(path.relative_to(ROOT))


def test_there_is_something_to_check() -> None:
    assert sources("reactor")
    assert len(RANKS) == len(" ".join(FLOORS).split()), "a file is on two floors"


@pytest.mark.parametrize("path", sources("reactor"), ids=names)
def test_a_file_of_the_core_keeps_to_its_floor(path: pathlib.Path) -> None:
    assert core_violations(path, ROOT / "reactor") == []


@pytest.mark.parametrize("path", [*sources("handlers"), *sources("examples")], ids=names)
def test_handlers_and_examples_use_what_is_public(path: pathlib.Path) -> None:
    assert guest_violations(path, ROOT / path.relative_to(ROOT).parts[0]) == []


@pytest.mark.parametrize("path", sources("tests"), ids=names)
def test_nobody_imports_handlers_by_the_name_of_its_folder(path: pathlib.Path) -> None:
    package = ".".join(path.relative_to(ROOT).parts[:-1])
    found = [item for item in imports(ast.parse(path.read_text()), package) if item.module.split(".")[0] == "handlers"]
    assert found == []


# The checker itself, on planted sources.


def planted(folder: pathlib.Path, name: str, source: str) -> list[str]:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
    if name.startswith("reactor/"):
        return core_violations(path, folder / "reactor")
    return guest_violations(path, folder / name.partition("/")[0])


LONG_FUNCTION = "def f():\n" + "    pass\n" * FUNCTION_LINES


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("reactor/loop.py", "from . import errors, streams\nfrom .table import Table\nimport reactor.clock\nimport os"),
        ("reactor/loop.py", "from .drain import Drain\nfrom .timers import Timer"),
        ("reactor/loop.py", "if TYPE_CHECKING:\n from .drain import Drain\nelse:\n from . import drain"),
        ("reactor/drain.py", "if TYPE_CHECKING:\n from .loop import Loop"),
        ("reactor/__init__.py", "from .hosting import Reactor\nfrom .socketserver import TCPServer"),
        ("reactor/clock.py", "from time import monotonic"),
        ("reactor/socketserver.py", "if __name__ == '__main__':\n from .substitute import main"),
        ("reactor/offload.py", "import threading, os\npid = os.fork()"),
        ("reactor/waker.py", "import socket\na, b = socket.socketpair()"),
        ("reactor/servers.py", "import socket\ns = socket.socket()"),
        ("reactor/streams.py", "import socket\ndef f(s: socket.socket): return isinstance(s, socket.socket)"),
        ("reactor/socketserver.py", "import os\nif hasattr(os, 'fork'): pass"),
        ("reactor/errors.py", "import typing\nif typing.TYPE_CHECKING:\n from typing_extensions import Buffer"),
        ("reactor/testing/clock.py", "import time\nimport pytest\nfrom ..loop import Reactor\nfrom . import world"),
        ("reactor/operate/top.py", "from reactor import Reactor\nfrom .views import rows"),
        ("reactor/limits.py", "#\n" * FILE_LINES),
        ("reactor/limits.py", LONG_FUNCTION.replace("    pass\n", "", 1)),
        ("handlers/redis.py", "from reactor import Stream, timeout\nfrom reactor.socketserver import TCPServer"),
        ("handlers/redis.py", "import os\nfrom .parser import parse\nfrom . import parser"),
        ("examples/demo.py", "import reactor.handlers.redis\nfrom reactor.handlers import redis, http"),
        ("examples/demo.py", "from reactor import handlers, socketserver\nfrom reactor.testing import talk"),
    ],
)
def test_what_is_allowed(tmp_path: pathlib.Path, name: str, source: str) -> None:
    assert planted(tmp_path, name, source) == []


@pytest.mark.parametrize(
    ("name", "source", "line"),
    [
        ("reactor/table.py", "import os\nfrom .loop import Reactor", 2),
        ("reactor/table.py", "import os\nfrom . import errors, loop", 2),
        ("reactor/table.py", "import reactor.loop", 1),
        ("reactor/table.py", "def f():\n    from .loop import Reactor", 2),
        ("reactor/table.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .loop import Reactor", 3),
        ("reactor/table.py", "import importlib\nimportlib.import_module('reactor.loop')", 2),
        ("reactor/table.py", "x = __import__(name)", 1),
        ("reactor/drain.py", "from .loop import Loop", 1),  # to the right on its own floor
        ("reactor/drain.py", "if TYPE_CHECKING:\n pass\nelse:\n from .loop import Loop", 4),
        ("reactor/drain.py", "if __name__ == 'main':\n from .loop import Loop", 2),
        ("reactor/loop.py", "from .loop import Reactor", 1),
        ("reactor/loop.py", "from . import Reactor", 1),
        ("reactor/loop.py", "from reactor import Reactor", 1),
        ("reactor/loop.py", "import reactor", 1),
        ("reactor/loop.py", "from .nowhere import x", 1),
        ("reactor/loop.py", "from .operate import top", 1),
        ("reactor/loop.py", "from reactor.handlers import echo", 1),
        ("reactor/loop.py", "import greenlet", 1),
        ("reactor/green_handlers.py", "import greenlet\nimport gevent", 2),
        ("reactor/loop.py", "import time", 1),
        ("reactor/loop.py", "def f():\n    from time import monotonic", 2),
        ("reactor/loop.py", "import selectors", 1),
        ("reactor/streams.py", "import threading", 1),
        ("reactor/streams.py", "from _thread import get_ident", 1),
        ("reactor/streams.py", "import socket\nsocket.socket()", 2),
        ("reactor/streams.py", "import socket as s\ns.socketpair()", 2),
        ("reactor/streams.py", "from socket import socketpair as pair\npair()", 2),
        ("reactor/streams.py", "import os\nos.fork()", 2),
        ("reactor/streams.py", "from os import fork", 1),
        ("reactor/helpers.py", "", 1),
        ("reactor/more/files.py", "", 1),
        ("reactor/operate/top.py", "from ..testing import talk", 1),
        ("reactor/limits.py", "#\n" * (FILE_LINES + 1), 1),
        ("reactor/limits.py", "\n" + LONG_FUNCTION, 2),
        ("reactor/limits.py", "class A:\n async " + LONG_FUNCTION.replace("    pass", "        pass"), 2),
        ("handlers/redis.py", "from reactor.framing import Lines", 1),
        ("handlers/redis.py", "from reactor import framing", 1),
        ("handlers/redis.py", "from ..framing import Lines", 1),
        ("handlers/redis.py", "def f():\n    from .. import framing", 2),
        ("handlers/redis.py", "from reactor.testing import talk", 1),
        ("handlers/redis.py", "from reactor.handlers import echo", 1),
        ("handlers/redis.py", "import h11", 1),
        ("handlers/redis.py", LONG_FUNCTION, 1),
        ("examples/demo.py", "from reactor.loop import Reactor", 1),
        ("examples/demo.py", "from reactor import loop", 1),
        ("examples/demo.py", "import handlers", 1),
        ("examples/demo.py", "from . import other", 1),
        ("examples/demo.py", "import trustme", 1),
    ],
)
def test_what_is_not(tmp_path: pathlib.Path, name: str, source: str, line: int) -> None:
    found = planted(tmp_path, name, source)
    assert found
    assert {text.partition(":")[0] for text in found} == {str(line)}
