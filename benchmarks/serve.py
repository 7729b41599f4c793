"""A server's own process: `python -m benchmarks.serve NAME PROTOCOL CORE`, started by `process.Server`.

It pins itself to its core, says its port on standard output and serves until it is killed. The first line it prints is
either the port (or ports) or, when the peer is not installed, "missing" and the reason. It never outlives a benchmark by
much: an alarm ends it even when the parent died without a chance to clean up.
"""

from __future__ import annotations

import os
import resource
import signal
import sys

from benchmarks.peers import SERVERS, ServerFunction

LIFETIME_S = 300
# glibc maps each block over 128 KiB anew, and gives it back: asyncio, which asks for 256 KiB in every recv(), is then three
# times as dear. All servers get these settings, which are the best for it and change nothing for who asks for less.
ROOMY = {"MALLOC_MMAP_THRESHOLD_": "4000000", "MALLOC_TRIM_THRESHOLD_": "4000000"}
NO_CORE = "-"


def main(name: str, protocol: str, core: str) -> None:
    signal.signal(signal.SIGUSR1, lambda *_: say(own_cpu_ns()))
    settle_down(core)
    try:
        server_function(name)(protocol, say)
    except ImportError as error:
        say(f"missing {error}")


def server_function(name: str) -> ServerFunction:
    if name in SERVERS:
        return SERVERS[name].load()
    from benchmarks.ways import WAYS

    return WAYS[name]


def settle_down(core: str) -> None:
    """What every process here does first: its core, enough descriptors, and an end, come what may."""
    signal.alarm(LIFETIME_S)
    raise_descriptor_limit()
    if core != NO_CORE:
        os.sched_setaffinity(0, {int(core)})


def say(*what: object) -> None:
    os.write(sys.stdout.fileno(), (" ".join(map(str, what)) + "\n").encode())


def own_cpu_ns() -> int:
    """For systems that do not tell the parent: less exact (some count in ticks), and it costs the server a signal."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return int((usage.ru_utime + usage.ru_stime) * 1e9)


def raise_descriptor_limit() -> int:
    """Ten thousand connections are as many descriptors; most systems start a process with fewer, but allow them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard if hard != resource.RLIM_INFINITY else sys.maxsize


if __name__ == "__main__":
    main(*sys.argv[1:])
