"""How a need reads in the table, and what it says to whoever sizes a receive."""

from reactor import Need


def test_what_it_says() -> None:
    assert str(Need.until(b"\r\n")) == "until b'\\r\\n'"
    assert (Need.until(b"\n").total_bytes, Need.until(b"\n").limit, Need.until(b"\n", 80).limit) == (0, None, 80)
    assert (str(Need.exactly(512)), Need.exactly(512).total_bytes) == ("exactly 512", 512)
    assert (str(Need.more()), Need.more().total_bytes) == ("more", 0)
    assert repr(Need.exactly(512)) == "Need('exactly 512', 512)"


def test_equal_needs_are_one() -> None:
    assert Need.exactly(5) == Need.exactly(5) != Need.exactly(6)
    assert len({Need.until(b"\n"), Need.until(b"\n"), Need.more(), Need.more()}) == 2
    assert Need.more() != "more"
    assert Need.more() is Need.more()
