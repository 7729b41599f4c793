"""Which of CPython's own tests are run, in which ways, and which are not and why.

What it is: the list. What it is not: a place to hide a failure; an exception names its tests and its reason, an exception
that matches no test is reported, and so is a skip that is not foreseen here. A test is named `Class.method`, as a pattern.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

# How a plain server's handler runs. "default" is the substitute with no way named: inline, and `handle_request` is
# socketserver's. In all others also `handle_request` goes through a loop; see `through_loop`.
WAYS = ("default", "inline", "greenlet", "framed")

SILENT = "the client sends nothing, so there is no frame, and no handler is ever made"
FRESH = "counts the calls of handle() on one connection, and a frame gets a fresh handler"
WARNED = "up to 3.12 one of these lets no warning pass, and a plain server that nobody named a way for warns"
BARE_LF = "a line that ends with a bare LF is a head for http.server, and never becomes a frame (RFC 9112, 2.2)"
AS_ROOT = "CPython does not run its CGI tests as root (bpo-13308)"
TLS = "get_request wraps the connection in TLS, and a framed server refuses such a socket"
DIALOGUE = "IMAP is a dialogue whose state lives in the handler's locals, and a frame gets a fresh handler"
DESCRIPTOR = "CGI gives the descriptor of the connection to a child process, and a frame has none"
KEEPALIVE = {"KeepaliveServerTestCase1.test_two": FRESH, "KeepaliveServerTestCase2.test_close": FRESH}


@dataclass(frozen=True, kw_only=True)
class Suite:
    """Tests of one of CPython's test modules.

    Attributes:
        only: what is run; by default everything.
        fewest: a run of fewer tests proves nothing.
        framing: what cuts the stream into frames, in the way "framed": see `reactor.substitute`.
        without_loop: ways in which requests are rightly handled without a loop.
        threaded: all servers in it have mixins of their own, which no way of ours replaces.
        may_skip: what may skip itself, and why that is all right.
        not_in: by way, what is left out, and why.
        limit_s: a run that takes longer hangs.
    """

    fewest: int
    only: tuple[str, ...] = ("*",)
    framing: str = "http"
    without_loop: tuple[str, ...] = ()
    threaded: bool = False
    may_skip: Mapping[str, str] = field(default_factory=dict)
    not_in: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    limit_s: float = 100

    @property
    def ways(self) -> tuple[str, ...]:
        """The ways in which there is anything to run."""
        replaced = ("greenlet", "framed") if self.threaded else ()
        return tuple(way for way in WAYS if way not in replaced and "*" not in self.not_in.get(way, {}))


def matching(test: str, patterns: Mapping[str, str]) -> str:
    """The first pattern that the id of a test fits; "" if there is none."""
    name = ".".join(test.split(" ")[0].split(".")[-2:])
    return next((pattern for pattern in patterns if fnmatchcase(name, pattern)), "")


SUITES = {
    "test_socketserver": Suite(
        fewest=25,
        framing="lines",
        without_loop=("default",),
        not_in={"framed": {"ErrorHandlerTest.test_sync_*": SILENT, "SocketWriterTest.*": SILENT}},
    ),
    "test_httpservers": Suite(
        fewest=45,
        may_skip={"CGIHTTPServerTestCase.*": AS_ROOT},
        not_in={
            "framed": {
                "CGIHTTPServerTestCase.*": DESCRIPTOR,
                "BaseHTTPServerTestCase.test_request_line_trimming": BARE_LF,
            }
        },
    ),
    "test_xmlrpc": Suite(
        fewest=90,
        without_loop=("default",),
        not_in={"framed": KEEPALIVE},
    ),
    # Most of test_xmlrpc waits for servers whose last request never comes, three seconds each. This does not.
    "test_xmlrpc:quick": Suite(
        fewest=25,
        only=(
            "SimpleServerTestCase.test_[a-p]*",
            "Gzip*TestCase.*",
            "KeepaliveServerTestCase*.*",
            "HeadersServerTestCase.*",
            "FailingServerTestCase.*",
        ),
        without_loop=("default",),
        not_in={"framed": KEEPALIVE},
    ),
    "test_docxmlrpc": Suite(fewest=9),
    "test_wsgiref": Suite(fewest=30, without_loop=WAYS),  # most of its requests are strings, and it handles them itself
    "test_urllib2_localnet": Suite(
        fewest=15,
        without_loop=("default",),
        not_in={"framed": {"TestUrlopen.test_https*": TLS}, "default": {"TestUrlopen.test_https*": WARNED}},
    ),
    "test_robotparser": Suite(fewest=1, only=("PasswordProtectedSiteTestCase.*",)),
    "test_httplib": Suite(fewest=3, only=("HTTPSTest.test_local_*",), not_in={"framed": {"*": TLS}}),
    "test_ssl": Suite(fewest=1, only=("ThreadedTests.test_socketserver",), not_in={"framed": {"*": TLS}}),
    "test_imaplib": Suite(
        fewest=80,
        only=("TestImaplib.*", "NewIMAP*", "ThreadedNetworked*"),
        not_in={"framed": {"*": DIALOGUE}},
    ),
    "test_logging": Suite(fewest=1, only=("HTTPHandlerTest.*",), not_in={"framed": {"*": TLS}}),
    "test_logging:threads": Suite(
        fewest=12,
        only=("*SocketHandlerTest.*", "*DatagramHandlerTest.*", "*SysLogHandlerTest.*", "ConfigDictTest.*listen*"),
        threaded=True,
        without_loop=("default",),  # logging.config's listener has a loop of its own, around handle_request
    ),
}
