"""What must hold while a world is played, and at its end.

What it is: `trial`, which plays a world and returns what is wrong. What it is not: lenient with the reactor: whatever a
world did to it, it is alive afterwards, serves whoever comes, and gives everything back.

1. Between two steps, when all is quiet: nothing is left to settle, no deadline is overdue, an idle row holds no bytes, and
   the totals of the table and of each listener are those of its rows.
2. At the end, without faults: each peer that behaved has everything, each listener serves somebody new, and a new one too.
3. When all peers have left and every deadline has passed, no connection is in the table.
4. Each row has ended once, and the closed reactor holds no descriptor.
5. What is logged as an error was planned.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from reactor import Phase
from reactor.testing import LeakError
from reactor.testing.faults import NO_FAULTS

from . import wire
from .drawn import TIMES_S, Spec
from .peers import Peer, Sender
from .play import LOG, Play
from .wire import Ask

# Over every deadline, one after the other, and over the pause of a listener that had no descriptors.
LONG_S = 3 * sum(TIMES_S.values())
DRAIN_S = 20.0
PATIENCE = 40  # times 1.5 s, in which peers get what they have asked for
ROUNDS = 3
PROBE = 1000  # the numbers of those who come last
PLANNED = ("(injected)", "planned")
STALE_ENTRIES = 64  # `deadlines.PURGE_FROM`


def trial(spec: Spec) -> tuple[list[str], Play]:
    """Play a world; return what is wrong, and the play."""
    play = Play(spec)
    propagates, LOG.propagate = LOG.propagate, False
    LOG.addHandler(play.log)
    try:
        _perform(play)
    except AssertionError as error:
        play.wrong.append(f"{type(error).__name__}: {error}")
    except Exception as error:
        play.wrong.append(f"{type(error).__name__} has left the play: {error!r} at {_place(error)}")
    finally:
        _close(play)
        LOG.removeHandler(play.log)
        LOG.propagate = propagates
    return play.wrong, play


def _perform(play: Play) -> None:
    play.open()
    for step in play.spec.steps:
        play.step(step)
        if step.op in ("quiet", "advance", "trickle"):
            play.wrong += _invariants(play)
        if play.wrong:
            return
    _calm(play)
    play.wrong += _invariants(play)
    for peer in play.peers.values():
        play.wrong += peer.complaints(over=False)
    for sender in play.senders.values():
        play.wrong += sender.complaints()
    if not play.wrong:
        _all_leave(play)
        _serve_others(play)
        play.wrong += _invariants(play)


def _calm(play: Play) -> None:
    """Nothing fails any more, nobody is paused, everybody reads and says the rest."""
    world, reactor = play.world, play.world.reactor
    play.excuse_hit()
    world.process.limit = 1024
    if world.process.plan is not None:
        world.process.plan.faults, world.process.plan._at = NO_FAULTS, {}
    _revive(play)
    for row in reactor.table:
        row.resume("operator")
    for peer in play.peers.values():
        peer.client.go_on_reading()
        peer.say(len(peer._script))
    for _ in range(PATIENCE):
        world.advance(1.5)
        if all(peer.is_content() for peer in play.peers.values()):
            break
        _revive(play)  # a handler may stop the reactor, or have a listener pause, still


def _revive(play: Play) -> None:
    """Whatever was stopped, closed or paused goes on."""
    if play.world.reactor._stop_s is not None:
        play.world.advance(DRAIN_S)
        play.wrong += _still_draining(play)
    play.open()
    for listener in play.listeners.values():
        listener.resume()


def _still_draining(play: Play) -> Iterator[str]:
    if play.world.reactor._stop_s is not None:
        yield f"the reactor was stopped, and is not after {DRAIN_S:g} s: {play.world.reactor.table}"


def _all_leave(play: Play) -> None:
    for peer in play.peers.values():
        peer.leave("eof")
    for _ in range(ROUNDS):  # who waited in a backlog may stop the reactor, too
        play.world.advance(LONG_S)
        _revive(play)
    left = [str(row) for row in play.world.reactor.table if row.kind == "stream"]
    if left or play.world.reactor.table.connections:
        play.wrong.append(f"after all have left there is {left}, {play.world.reactor.table.connections} counted")
    for peer in play.peers.values():
        play.wrong += peer.complaints(over=True)


def _serve_others(play: Play) -> None:
    """Each listener is alive."""
    for which in play.listeners:
        if which in play.is_packets:
            _probe_packets(play, which)
        else:
            peer = Peer(play, PROBE + which, which, (Ask("echo", 0, 5), Ask("leave", 0, 5)))
            play.peers[PROBE + which] = peer
            peer.say(len(peer._script))
            play.world.run_until_quiet()
            if "connections_per_peer" in play.refusing and not peer.client._received:
                play.wrong.append(f"{peer} was not served")
            peer.leave("eof")
            play.world.run_until_quiet()
            play.wrong += peer.complaints(over=True)


def _probe_packets(play: Play, which: int) -> None:
    sender = Sender(play, PROBE + which, which)
    sender.say(5)
    play.world.advance(0.2 + 2 * play.spec.faults.delay_s[1])
    play.wrong += sender.complaints()
    if len(sender.got) != 1:
        play.wrong.append(f"{sender}: a packet was answered by {sender.got}")


def _invariants(play: Play) -> Iterator[str]:
    reactor = play.world.reactor
    rows = list(reactor.table)
    streams = [row for row in rows if row.kind == "stream"]
    if reactor.table.connections != len(streams):
        yield f"{reactor.table.connections} connections are counted, {len(streams)} are in the table"
    if reactor.dirty:
        yield f"rows are left to settle: {reactor.dirty}"
    for row in rows:
        yield from _of_row(play, row, streams)
    if len(reactor.deadlines) > 2 * len(rows) + 2 * STALE_ENTRIES:
        yield f"{len(reactor.deadlines)} deadlines are remembered for {len(rows)} rows"


def _of_row(play: Play, row: Any, streams: list[Any]) -> Iterator[str]:
    now = play.world.clock.now()
    if row.phase is Phase.CLOSED or row.fd < 0 or row.sock.fileno() != row.fd:
        yield f"{row} is {row.phase} with descriptor {row.fd}, and in the table"
        return
    deadline_at = row.deadline_at()
    if deadline_at is not None and deadline_at < now and not play.suspended:
        yield f"{row} is {now - deadline_at:.3f} s over its deadline in {row.phase}"
    if deadline_at is not None and (row.guarded_at is None or row.guarded_at > deadline_at + 1e-9):
        yield f"{row} is guarded until {row.guarded_at}, its deadline is at {deadline_at}"
    if row.kind == "listener":
        members = sum(each.acceptor is row for each in streams)
        if row.members != members:
            yield f"{row} counts {row.members} rows, has {members}"
    if row.kind == "stream":
        if row.pending != sum(map(len, row.outbox or ())):
            yield f"{row} counts {row.pending} bytes to send, has {sum(map(len, row.outbox or ()))}"
        if row.phase is Phase.IDLE and row.inbox_bytes and not row.paused:
            yield f"{row} is idle with {row.inbox_bytes} bytes"
        yield from _of_late(play, row)
        if row.way == "framed":
            yield from _of_framed(play, row)


def _of_late(play: Play, row: Any) -> Iterator[str]:
    """A request that came in part, or a reply that nobody takes, ends with its time, whatever the row thinks of that."""
    now = play.world.clock.now()
    done: Any = None
    if row.outbox is not None:
        done, most_s = ("out", row.bytes_out), TIMES_S["write_stall_s"]
    elif row.phase is Phase.RECEIVING and not row.paused:
        done, most_s = ("in", row.requests), TIMES_S["request_s"]
    before, at = play.progress.get(row.id, (None, now))
    if done is None or done != before:
        at = now
    elif now - at > most_s + 1e-6 and not play.suspended:
        yield f"{row} has got nothing done for {now - at:g} s: {done}"
    play.progress[row.id] = done, at


def _of_framed(play: Play, row: Any) -> Iterator[str]:
    """Rows that are idle share what only busy ones need, and nobody's bytes are in it."""
    blank = row.framing.is_blank and row.phase is Phase.IDLE and not row.paused
    if blank and not play.spec.watched and row.inbox is not None and not row.inbox_bytes:
        yield f"{row} is idle and keeps an inbox"
    for framing, inbox in row.host.spare:
        if inbox.size or inbox.ahead or not framing.is_blank:
            yield f"a spare {framing} of {row.host.name} holds {inbox.size} bytes"


def _close(play: Play) -> None:
    world, reactor = play.world, play.world.reactor
    try:
        if play.spec.ending != "close" and not play.wrong:
            reactor.stop(drain_s=1.0)
            if play.spec.ending == "run":
                reactor.run(handle_signals=False)
            else:
                world.advance(DRAIN_S)
            play.wrong += _still_draining(play)
        world.close()
    except (AssertionError, LeakError) as error:
        play.wrong.append(f"{type(error).__name__}: {error}")
    except Exception as error:
        play.wrong.append(f"closing has failed: {error!r} at {_place(error)}")
    if len(reactor.table):
        play.wrong.append(f"the closed reactor has rows: {reactor.table}")
    play.wrong += [f"row {id} has ended {times} times" for id, times in play.released.items() if times != 1]
    if play.spec.watched and play.census.opened != play.census.ended:
        play.wrong.append(f"opened {dict(play.census.opened)}, ended {dict(play.census.ended)}")
    play.wrong += _unplanned(play)


def _unplanned(play: Play) -> Iterator[str]:
    for error in play.errors:
        if not _is_planned(error) and not isinstance(error, BrokenPipeError):  # which a handler may hear of
            yield f"a server was told of {error!r} at {_place(error)}"
    for record in play.log.records:
        logged = record.exc_info[1] if record.exc_info else None
        if not _is_planned(logged):
            yield f"logged: {record.getMessage()} ({logged!r} at {_place(logged)})"


def _is_planned(error: BaseException | None) -> bool:
    while error is not None:
        if any(word in str(error) for word in PLANNED):
            return True
        error = error.__cause__ or error.__context__
    return False


def _place(error: BaseException | None) -> str:
    """Return the last few lines that an error has passed."""
    trace, places = getattr(error, "__traceback__", None), []
    while trace is not None:
        places.append(f"{trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}")
        trace = trace.tb_next
    return " > ".join(places[-4:])


__all__ = ["trial", "wire"]
