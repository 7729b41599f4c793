"""`check_framing` holds framings to their contract."""

from typing import Any

import pytest

from reactor import Fixed, Framing, FramingError, HttpRequests, Inbox, LengthPrefixed, Lines, Need, Netstring, Raw, Until
from reactor.testing import FramingMistake, check_framing

GOOD = [
    (Lines(), b"a\n\nbcd\n", [b"a\n", b"\n", b"bcd\n"]),
    (Lines(keep_end=False), b"a\n\nbcd\n", [b"a", b"", b"bcd"]),
    (Lines(), b"a\nhalf", [b"a\n"]),
    (Lines(max_bytes=3), b"a\nabcdef\n", [b"a\n"]),
    (Until(b"\r\n\r\n"), b"a\r\n\r\r\n\r\n\r\n", [b"a\r\n\r\r\n\r\n"]),
    (Fixed(3), b"abcdef", [b"abc", b"def"]),
    (LengthPrefixed(2), b"\0\3abc\0\0\0\1x", [b"abc", b"", b"x"]),
    (LengthPrefixed(1, max_bytes=3), b"\1a\4abcd", [b"a"]),
    (Netstring(), b"5:hello,0:,1:x,", [b"hello", b"", b"x"]),
    (Netstring(), b"5:hello,05:hello,", [b"hello"]),
    (Lines(keep_end=False).map(int, lambda number: b"%d" % number), b"1\n23\n", [1, 23]),
    (Lines(keep_end=False).map(int), b"1\nx\n", [1]),
    (Raw(), b"abc", [b"abc"]),
    (Lines(), b"", []),
]


@pytest.mark.parametrize(("framing", "data", "frames"), GOOD)
def test_framings_that_keep_it(framing: Framing[Any], data: bytes, frames: list[Any]) -> None:
    check_framing(framing, data, frames)
    check_framing(framing, data)


def test_frames_that_are_objects() -> None:
    get = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
    check_framing(HttpRequests(), get + post + get)


class Broken(Framing[bytes]):
    """A framing with the mistake that its name says."""

    def __init__(self, mistake: str) -> None:
        self.mistake = mistake
        self.seen = 0
        self.cuts = mistake.startswith("cuts")

    def fresh(self) -> "Broken":
        return Broken(self.mistake)

    def cut(self, data: bytes, inbox: Inbox) -> bytes | None:
        if len(data) == 6 and self.mistake == "cuts and forgets":
            return data[:3]
        if len(data) == 2 and self.mistake == "cuts what is not whole":
            return data
        return data if len(data) == 3 else None

    def goes_on(self, data: bytes, inbox: Inbox) -> bool:
        return self.mistake == "cuts, and goes on too long"

    def next_frame(self, inbox: Inbox, eof: bool) -> bytes | Need:
        held = len(inbox)
        if self.mistake == "by arrival" and held:
            return inbox.take(held)
        if self.mistake == "consumes" and held == 1:
            inbox.take(1)
            return Need.more()
        if self.mistake == "produces" and held == 2:
            return b""
        if self.mistake == "waits at the end" and eof:
            return Need.more()
        if self.mistake == "guesses at the end" and eof and held:
            return inbox.take(held)
        if held >= 3:
            return inbox.take(3)
        if self.mistake == "hides the end" and eof:
            inbox.take(held)
        return self._incomplete(inbox, eof, Need.exactly(3))


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        ("by arrival", "of the pieces"),
        ("cuts and forgets", "of the pieces"),
        ("cuts what is not whole", "of the pieces"),
        ("cuts, and goes on too long", "goes on in"),
        ("consumes", "returned a Need: they are lost"),
        ("produces", "out of no bytes"),
        ("waits at the end", "nothing can follow"),
        ("guesses at the end", "more bytes make"),
        ("hides the end", "which then nobody has seen"),
    ],
)
def test_framings_that_do_not(mistake: str, message: str) -> None:
    check_framing(Broken(""), b"abcdef", [b"abc", b"def"])
    with pytest.raises(FramingMistake, match=message):
        check_framing(Broken(mistake), b"abcdef")


def test_other_frames_than_were_expected() -> None:
    with pytest.raises(FramingMistake, match="and not"):
        check_framing(Lines(), b"a\nb\n", [b"a\n"])


def test_an_error_that_is_none_of_ours_passes() -> None:
    class Wrong(Framing[bytes]):
        def next_frame(self, inbox: Inbox, eof: bool) -> bytes | Need:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        check_framing(Wrong(), b"x")
    assert issubclass(FramingMistake, AssertionError)
    assert not issubclass(FramingMistake, FramingError)
