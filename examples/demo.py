"""Seven servers in one thread, and the table of their half-finished requests, live.

    make demo                                           until Ctrl-C
    make demo ARGS=--once                               it talks to itself, shows the table in mid-sentence, and ends
    python examples/demo.py --port-base 9000 --seconds 60

On a terminal the table is drawn once a second and when something happens, elsewhere only when something does.
"""

import argparse
import os
import select
import shlex
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator

from reactor import Endpoint, Listener, Observer, Phase, Reactor, Stream, Turn
from reactor.handlers import daytime, echo, static_http, upper
from reactor.socketserver import StreamRequestHandler, ThreadingTCPServer

SHORTEST_S, LONGEST_S, TICK_S = 0.1, 1.0, 0.25  # between two drawings; between two looks at the clock
CLEAR = "\033[H\033[2J"
HERE = os.path.dirname(os.path.abspath(__file__))

members: set[Stream] = set()


async def greet(stream: Stream) -> None:  # a coroutine: while it waits, its row says for what
    stream.write(b"What is your name? ")
    stream.write(b"Hello, " + await stream.readline(max_bytes=80))


class Backwards(StreamRequestHandler):  # a blocking handler of socketserver, in a thread of its own
    def handle(self) -> None:
        self.wfile.write(self.rfile.readline()[-2::-1] + b"\n")


async def chat(stream: Stream) -> None:  # rows that write to other rows
    members.add(stream)
    try:
        while line := await stream.readline(max_bytes=1000):
            for member in members - {stream}:
                member.offer(f"{stream.peer}: ".encode() + line)  # whoever reads too slowly misses it
            stream.end_request()
    finally:
        members.discard(stream)


def listen(loop: Reactor, port_base: int, folder: str) -> Iterator[tuple[Listener, str]]:
    # Each with what to say to it; "" is whatever is typed.
    ports = iter(range(port_base, port_base + 6) if port_base else [0] * 6)
    server = ThreadingTCPServer(("127.0.0.1", next(ports)), Backwards)
    server.daemon_threads = True  # a client that never ends its line does not keep the process alive
    yield loop.add(server, name="backwards"), ""
    yield loop.listen(f"tcp://127.0.0.1:{next(ports)}", greet, name="greet"), ""
    yield loop.listen(f"tcp://127.0.0.1:{next(ports)}", chat, name="chat"), ""
    yield loop.listen(f"tcp://127.0.0.1:{next(ports)}", daytime.daytime, name="daytime"), "what time is it"
    yield loop.listen(f"udp://127.0.0.1:{next(ports)}", upper.upper_datagram, name="upper"), "hello"
    # http.server's own handler, which blocks: it is made when a request is there as a whole.
    yield loop.listen(f"tcp://127.0.0.1:{next(ports)}", static_http.static_http(HERE, quiet=True), name="files"), ""
    if hasattr(socket, "AF_UNIX"):
        yield loop.listen(f"unix://{folder}/echo.sock", echo.echo, name="echo"), ""


def commands(listeners: list[tuple[Listener, str]]) -> str:
    client = [os.path.relpath(path) for path in (sys.executable, os.path.join(HERE, "client.py"))]
    lines = []
    for to, says in listeners:
        command = shlex.join([*client, to.endpoint, *says.split()])
        if to.name == "files":
            command = f"http://127.0.0.1:{to.port}/ in a browser"
        lines.append(f"  {to.name:9}  {command}")
    return "\n".join(["Try in other terminals (half a line, then Ctrl-D, is worth a look):", *lines])


def table(loop: Reactor, columns: int | None = None) -> str:
    busy = [row for row in loop.table if row.phase not in (Phase.LISTENING, Phase.IDLE)]
    sentences = [f"row {row.id}: {loop.table.explain(row)}" for row in busy]
    return "\n".join([*(line[:columns] for line in str(loop.table).splitlines()), *sentences])


class Screen(Observer):  # draws the table after a turn in which something has happened
    def show(self, loop: Reactor, head: str) -> None:
        self.loop, self.head, self.live = loop, head, sys.stdout.isatty()
        self.drawn, self.drawn_at = "", -LONGEST_S
        if not self.live:
            print(head, flush=True)
        loop.call_soon(self.tick)

    def tick(self) -> None:  # so that there is a turn now and then
        self.loop.call_later(TICK_S, self.tick)

    def on_turn(self, turn: Turn) -> None:
        quiet_s = time.monotonic() - self.drawn_at
        rows = str([(row.id, row.phase, row.need, row.requests, row.end) for row in self.loop.table.snapshot()])
        if quiet_s < SHORTEST_S or (rows == self.drawn and not (self.live and quiet_s >= LONGEST_S)):
            return
        self.drawn, self.drawn_at = rows, time.monotonic()
        if self.live:
            columns = shutil.get_terminal_size().columns
            print(f"{CLEAR}{self.head}\n\n{table(self.loop, columns)}\n\nCtrl-C drains.", flush=True)
        else:
            print(f"\n{table(self.loop)}", flush=True)


class Guest:  # a client in the loop's own thread, which turns the loop while it waits
    def __init__(self, loop: Reactor, listener: Listener) -> None:
        self.loop, self.name, place = loop, listener.name, Endpoint.parse(listener.endpoint)
        self.sock = socket.socket(socket.AF_UNIX if place.family == "unix" else socket.AF_INET, place.type)
        self.sock.connect(listener.address)

    def says(self, words: bytes) -> None:
        self.sock.sendall(words)
        print(f"  {self.name:9} > {words!r}")

    def hears(self) -> None:
        while not select.select([self.sock], [], [], 0)[0]:
            self.loop.step(TICK_S)
        print(f"  {self.name:9} < {self.sock.recv(1000).splitlines(keepends=True)[0]!r}")


def converse(loop: Reactor, listeners: list[Listener]) -> None:
    backwards, greet, chat, another, daytime, upper, files, *others = guests = [
        Guest(loop, listener) for listener in [*listeners[:3], *listeners[2:]]
    ]
    backwards.says(b"nward")
    greet.hears()
    greet.says(b"Ann Bo")
    files.says(b"HEAD /demo.py HTTP/1.1\r\nHost: demo\r\n")
    for guest in (another, upper, *others):
        guest.says(b"hello\n")
    for guest in (chat, daytime, upper, *others):
        guest.hears()
    while loop.step().ready:
        pass
    print(f"\n{table(loop)}\n")
    for guest, words in ((greet, b"leyn\n"), (backwards, b"od\n"), (files, b"\r\n")):
        guest.says(words)
        guest.hears()
    for guest in guests:
        guest.sock.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--once", action="store_true", help="talk to itself, show the table, and end")
    parser.add_argument("--seconds", type=float, metavar="N", help="end after N seconds")
    parser.add_argument("--port-base", type=int, default=0, metavar="N", help="the first port; 0: any free ones")
    options = parser.parse_args()
    screen = Screen()
    with tempfile.TemporaryDirectory() as folder, Reactor(observers=[] if options.once else [screen]) as loop:
        listeners = [*listen(loop, options.port_base, folder)]
        if options.once:
            print(commands(listeners), end="\n\n")
            converse(loop, [listener for listener, _ in listeners])
            loop.stop()
        else:
            screen.show(loop, commands(listeners))
        if options.seconds is not None:
            loop.call_later(options.seconds, loop.stop)
        print(loop.run())
