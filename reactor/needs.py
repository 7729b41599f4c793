"""What a partial request still waits for.

What it is: the word between a framing, which knows what is missing, and the table, which shows it. What it is not: an
error; a framing *returns* it, as often as bytes arrive that do not complete a frame.
"""

from __future__ import annotations


class Need:
    """What a partial request still waits for: returned by `Framing.next_frame`, shown in the table.

    Args:
        text: for people: 'until b"\\n"', 'exactly 512'.
        total_bytes: how many bytes the inbox must hold before another try makes sense; 0: any byte may do.
        limit: the most bytes that may come before the frame is refused; None: `Limits.frame_bytes`.
        reply: what the peer must be told before it sends the rest (100 Continue); it is written each time that this
            is returned, so a framing returns it once.
    """

    __slots__ = ("limit", "reply", "text", "total_bytes")

    def __init__(self, text: str, total_bytes: int = 0, limit: int | None = None, reply: bytes = b"") -> None:
        self.text, self.total_bytes, self.limit, self.reply = text, total_bytes, limit, reply

    @classmethod
    def until(cls, delimiter: bytes, limit: int | None = None) -> Need:
        """Bytes up to and including a delimiter."""
        return cls(f"until {delimiter!r}", 0, limit)

    @classmethod
    def exactly(cls, n: int) -> Need:
        """`n` bytes in all."""
        return cls(f"exactly {n}", n)

    @classmethod
    def more(cls) -> Need:
        """Any bytes."""
        return _MORE

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"Need({self.text!r}, {self.total_bytes})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Need) and (self.text, self.total_bytes) == (other.text, other.total_bytes)

    def __hash__(self) -> int:
        return hash((self.text, self.total_bytes))


_MORE = Need("more")
