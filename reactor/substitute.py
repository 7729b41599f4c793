"""Run a program, unmodified, with `reactor.socketserver` in the place of the standard `socketserver`.

    python -m reactor.socketserver [--way WAY] [--framing FRAMING] SCRIPT|-m MODULE [ARGUMENTS]

What it is: `install`, which puts our module into `sys.modules` before anybody imports `http.server`, `xmlrpc.server` and
the like, and `main`, which does so and then runs a program as `python` itself would. What it is not: a patch; no module of
the standard library is changed, and one that was built on the standard classes before is an error, not half a success.

Rules: a way that is named here is for plain servers only. A server with a mixin keeps its threads or children, for
handlers in them may use locks and queues, and one that names its own `way` or `framing` keeps that · a program started in
a new process (subprocess, multiprocessing's spawn) has the standard module again.
"""

from __future__ import annotations

import argparse
import builtins
import importlib.machinery
import importlib.util
import io
import os
import pkgutil
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn, get_args

from . import socketserver as ours
from .base_server import BaseServer
from .errors import MissingExtraError
from .framing import Framing
from .framings import Lines, Raw
from .http_framing import HttpRequests
from .ways import Way

PROGRAM = "python -m reactor.socketserver"
WAYS = [way for way in get_args(Way) if way != "coroutine"]  # a coroutine handler says so itself
FRAMINGS: dict[str, Callable[[], Framing[Any]]] = {"http": HttpRequests, "lines": Lines, "raw": Raw}


class UsageError(ValueError):
    """The command line, or the arguments of `install`, cannot be obeyed."""


# -- the substitute -----------------------------------------------------------------------------------------------------


def install(way: Way | None = None, framing: Framing[Any] | str | None = None) -> types.ModuleType:
    """Put `reactor.socketserver` in the place of the standard module, in this process, for good.

    Args:
        way: how plain servers run their handlers; None: inline, with a warning, unless `framing` says framed.
        framing: for the way "framed": a framing, or its name: "http", "lines", "raw", "module:attribute".

    Returns:
        The module.

    Raises:
        MissingExtraError: the way needs a package that is not installed.
        RuntimeError: something is built on the standard module already.
        UsageError: way and framing do not go together, or there are no such.
    """
    way = _way_with(way, framing)
    built = sorted(set(_built_on_the_standard_module()))
    if built:
        raise RuntimeError(
            f"the standard socketserver cannot be replaced any more, for {', '.join(built)} has been imported with it; "
            "install() has to come first (does a .pth file or sitecustomize import it? python -S and -I skip them)"
        )
    sys.modules["socketserver"] = ours
    if isinstance(framing, str):
        framing = framing_named(framing)  # the module that it names finds ours already
    BaseServer.way_if_plain, BaseServer.framing_if_plain = way, framing
    return ours


def framing_named(text: str) -> Framing[Any]:
    """Return the framing that a command line names.

    Raises:
        UsageError: there is none of this name, or it is no framing.
    """
    if text in FRAMINGS:
        return FRAMINGS[text]()
    if ":" not in text:
        raise UsageError(f"framing {text!r}: one of {', '.join(FRAMINGS)}, or module:attribute")
    try:
        named: Any = pkgutil.resolve_name(text)
        framing: object = named if isinstance(named, Framing) or not callable(named) else named()
    except Exception as error:
        raise UsageError(f"framing {text!r}: {type(error).__name__}: {error}") from error
    if not isinstance(framing, Framing):
        raise UsageError(f"framing {text!r} is {framing!r}: not a Framing, nor a function or class that makes one")
    return framing


def _way_with(way: Way | None, framing: object) -> Way | None:
    if way is not None and way not in WAYS:
        raise UsageError(f"way {way!r}: one of {', '.join(WAYS)}")
    if way == "framed" and framing is None:
        raise UsageError(
            "way 'framed' needs a framing, which says when a request is complete: --framing http for programs on "
            f"http.server, or one of {', '.join(FRAMINGS)}, module:attribute"
        )
    if framing is not None and way not in (None, "framed"):
        raise UsageError(f"a framing makes the way 'framed', not {way!r}; drop one of the two")
    if way == "greenlet" and importlib.util.find_spec("greenlet") is None:
        raise MissingExtraError("way 'greenlet' needs the package greenlet: pip install 'socketreactor[greenlet]'")
    return "framed" if framing is not None else way


def _built_on_the_standard_module() -> Iterator[str]:
    """The modules that hold the standard socketserver or a class made from its classes."""
    standard = sys.modules.get("socketserver")
    if standard in (None, ours):
        return
    bases = (standard.BaseServer, standard.BaseRequestHandler)
    for name, module in list(sys.modules.items()):
        if module is standard or not isinstance(module, types.ModuleType):
            continue
        for value in list(vars(module).values()):
            if value is standard or (isinstance(value, type) and issubclass(value, bases)):
                yield name


# -- the program --------------------------------------------------------------------------------------------------------


def main(argv: Sequence[str]) -> None:
    """Obey a command line. What the program raises, SystemExit too, leaves this function as it would leave `python`.

    Args:
        argv: our options, then the program and its arguments.

    Raises:
        SystemExit: 2: the command line cannot be obeyed.
    """
    own, program = _split(argv)
    parser = _parser()
    options = parser.parse_args(own)
    if not program:
        parser.error("name a program: SCRIPT, or -m MODULE")
    try:
        install(options.way, options.framing)
    except (UsageError, MissingExtraError, RuntimeError) as error:
        parser.error(str(error))
    try:
        if program[0] == "-m":
            _run_module(program[1], program[2:])
        else:
            _run_script(program[0], program[1:])
    except BaseException as error:
        _hide_our_frames(error)
        raise


def _split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Our own options, and what begins with the program; `-mMODULE` becomes two words."""
    at = 0
    while at < len(argv) and argv[at].startswith("-") and not argv[at].startswith("-m"):
        at += 2 if argv[at] in ("--way", "--framing") else 1
    own, program = list(argv[:at]), list(argv[at:])
    if program and program[0].startswith("-m") and len(program[0]) > 2:
        program[:1] = ["-m", program[0][2:]]
    if program == ["-m"]:
        return own, []
    return own, program


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        usage="%(prog)s [--way WAY] [--framing FRAMING] (SCRIPT | -m MODULE) [ARGUMENTS]",
        description="Run a program, unmodified, with reactor.socketserver in the place of the standard socketserver.",
        epilog="Both options are for plain servers. One with ThreadingMixIn or ForkingMixIn keeps its threads or "
        "children, and a server or handler class that names a way or framing of its own keeps that.",
        allow_abbrev=False,
    )
    parser.add_argument("--way", choices=WAYS, help="how handlers run; without it inline, with a warning")
    parser.add_argument(
        "--framing",
        metavar="FRAMING",
        help="run handlers framed, once for each whole request: http (for http.server and what is built on it), lines, "
        "raw, or module:attribute, which is a Framing or makes one",
    )
    return parser


def _run_module(name: str, arguments: list[str]) -> None:
    """As `python -m`: sys.path[0] is the current folder already."""
    sys.argv[:] = ["-m", *arguments]  # while the module is looked for
    spec = _spec_of(name)
    code = None if spec is None or spec.loader is None else spec.loader.get_code(spec.name)
    if code is None:
        _refuse(1, f"No module named {name} that can be run")
    sys.argv[0] = spec.origin
    _run(code, spec.origin, spec.loader, spec)


def _spec_of(name: str) -> Any:
    """Return where a module, or the `__main__` of a package, is; None: there is none."""
    try:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations is not None:
            spec = importlib.util.find_spec(f"{name}.__main__")
    except ModuleNotFoundError as error:
        if f"{name}.".startswith(f"{error.name}."):
            return None
        raise  # a package on the way imports something that is missing
    return spec


def _run_script(path: str, arguments: list[str]) -> None:
    """As `python SCRIPT`; a folder or archive with a `__main__.py` is a program too."""
    sys.argv[:] = [path, *arguments]  # as it was given; __file__ is absolute
    path = os.path.abspath(path)
    spec: Any = importlib.machinery.PathFinder.find_spec("__main__", [path])
    _put_first(os.path.dirname(os.path.realpath(path)) if spec is None else path)
    if spec is not None:
        _run(spec.loader.get_code("__main__"), spec.origin, spec.loader, spec)
        return
    try:
        with io.open_code(path) as file:
            source = file.read()
    except OSError as error:
        _refuse(2, f"can't open file {path!r}: [Errno {error.errno}] {error.strerror}")
    code = compile(source, path, "exec", dont_inherit=True)
    _run(code, path, importlib.machinery.SourceFileLoader("__main__", path), None)


def _put_first(folder: str) -> None:
    """Have imports look in the program's own folder, not in the one where `python -m` was called, unless -P says no."""
    if not sys.flags.safe_path:
        sys.path[0] = folder


def _refuse(status: int, text: str) -> NoReturn:
    sys.stderr.write(f"{PROGRAM}: {text}\n")
    raise SystemExit(status)


def _run(code: Any, path: str, loader: Any, spec: Any) -> None:
    """Run code as `__main__`, which stays there for threads and exit functions that outlive it."""
    module = types.ModuleType("__main__")
    module.__file__, module.__loader__, module.__spec__ = path, loader, spec
    module.__package__ = None if spec is None else spec.parent
    vars(module).update(__cached__=None if spec is None else spec.cached, __builtins__=builtins)
    sys.modules["__main__"] = module
    exec(code, vars(module))


_OWN_FRAMES = (__file__, str(importlib.util.__file__), "<frozen importlib")


def _hide_our_frames(error: BaseException) -> None:
    """Have the traceback begin in the program; python reports the exception, and exits, as ever."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename.startswith(_OWN_FRAMES):
        trace = trace.tb_next
    hook = sys.excepthook  # the program may have brought its own

    def report(kind: type[BaseException], error: BaseException, _: Any) -> None:
        hook(kind, error.with_traceback(trace), trace)

    sys.excepthook = report
