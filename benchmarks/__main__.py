"""`python -m benchmarks`: run the workloads, print their tables, and say when they are not to be believed.

Exit code 0: measured. 1: rejected because the run contradicts itself (see `rounds`), or a server answered wrongly.
2: the arguments make no sense, or this system has no epoll. A promise that was not kept (see `dribblers`) is a 1, too.
"""

from __future__ import annotations

import argparse
import itertools
import select
import signal
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from benchmarks import dribblers, idle, peers, plot, report, results, rounds, ways, workloads
from benchmarks.load import NoReply, WrongReply
from benchmarks.process import Server, ServerDied, Unavailable, busy_share, pinned_to, two_cores
from benchmarks.serve import raise_descriptor_limit

EVERYTHING = [*workloads.WORKLOADS, "idle", "dribblers"]
LOOK_S = 0.5  # at what else the machine does
ALL_SERVERS = list(dict.fromkeys([*peers.SERVERS, *ways.WAYS]))
UNLESS_ASKED = ("http-10", "http-1")  # left out
IN_A_MINUTE = ("echo", "lines", "close", "udp")  # of --quick


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    raise_descriptor_limit()
    cores = two_cores()
    found = report.Report(cores, options.quick)
    print(report.introduction(cores, busy_share(LOOK_S)), flush=True)
    try:
        with pinned_to(cores and cores.load):
            run(found, options)
    except (ServerDied, WrongReply, NoReply, ConnectionError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    if options.plot:
        options.plot.write_text(plot.svg(found.sections))
    for reason in found.rejections:
        print(f"\nREJECTED: {reason}", file=sys.stderr)
    for reason in found.broken:
        print(f"\nBROKEN: {reason}", file=sys.stderr)
    return 0 if found.accepted else 1


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks",
                                     description="CPU per message, beside a bare epoll loop.")
    parser.add_argument("--quick", action="store_true", help="less than a minute, and less exact")
    parser.add_argument("--only", type=chosen_from(EVERYTHING), metavar="A,B",
                        help=f"some of: {', '.join(EVERYTHING)} (default: all but {', '.join(UNLESS_ASKED)}; "
                             f"quick: {', '.join(IN_A_MINUTE)})")
    parser.add_argument("--servers", type=chosen_from(ALL_SERVERS), metavar="A,B",
                        help=f"some of: {', '.join(ALL_SERVERS)} (default: all that are installed; each takes part "
                             "where it speaks the protocol)")
    parser.add_argument("--json", type=Path, metavar="FILE",
                        help="put the figures there, in the place of those of the same workloads")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw them (SVG)")
    options = parser.parse_args(arguments)
    options.only = options.only or [name for name in (IN_A_MINUTE if options.quick else EVERYTHING)
                                    if name not in UNLESS_ASKED]
    if not hasattr(select, "epoll"):
        parser.error("the reference is a bare epoll loop, and this system has no epoll")
    return options


def chosen_from(choices: Collection[str]) -> Callable[[str], list[str]]:
    """An argparse type: names from a list with commas, in the order of `choices`."""
    def names(text: str) -> list[str]:
        asked = text.split(",")
        if unknown := sorted(set(asked) - set(choices)):
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: not one of {', '.join(choices)}")
        return [name for name in choices if name in asked]
    return names


def run(found: report.Report, options: argparse.Namespace) -> None:
    servers = options.servers or installed()
    for name in options.only:
        print(flush=True)
        if name == "idle":
            run_idle(found, servers)
        elif name == "dribblers":
            run_dribblers(found, [way for way in servers if way in (options.servers or ways.ONE_THREAD)])
        else:
            run_workload(found, workloads.WORKLOADS[name], servers)
        if options.json:  # after each, so that nothing is lost when a long run is interrupted
            results.write(options.json, results.merged(results.read(options.json), found.sections))


def installed() -> list[str]:
    """Leave out the servers that are not there, and say so; one that was asked for by name has to be there."""
    there = []
    for name in ALL_SERVERS:
        try:
            with Server(name, "echo") as server:
                server.port()
            there.append(name)
        except Unavailable as reason:
            print(f"without {reason}", flush=True)
    return there


def run_workload(found: report.Report, workload: workloads.Workload, servers: Sequence[str]) -> None:
    others = [name for name in servers if name in workload.servers
              and name not in (workload.reference, workload.second_reference)]
    effort = workloads.QUICK if found.quick else workloads.FULL
    rows = workloads.measure(workload, [workload.second_reference, *others], effort, found.cores).summary()
    rejected = rounds.rejection(workload.name, rows[workload.second_reference])
    found.add(workload.name, results.of_workload(workload, rows, rejected))
    print(report.cpu_table(workload.name, workload.unit, workload.reference, rows), flush=True)


def run_idle(found: report.Report, servers: Sequence[str]) -> None:
    crowd = (idle.QUICK if found.quick else idle.FULL).within_limits()
    for name in dict.fromkeys([peers.REFERENCE, *servers]):
        if name in ways.WAYS and name != ways.SECOND_REFERENCE:
            found.rests |= idle.measure_way(name, crowd, found.cores)
        elif name in peers.SERVERS and name != peers.SECOND_REFERENCE:
            found.rests[name] = idle.measure(name, crowd, found.cores)
    found.add(results.IDLE, results.of_idle(found.rests))
    print(report.idle_table(found.rests), flush=True)


def run_dribblers(found: report.Report, servers: Sequence[str]) -> None:
    crowd = dribblers.QUICK if found.quick else dribblers.FULL
    for site, way in itertools.product(dribblers.SITES, [name for name in servers if name in ways.WAYS]):
        found.trials.append(dribblers.measure(site, way, crowd, found.cores))
    if found.trials:
        found.add(results.DRIBBLERS, results.of_dribblers(found.trials))
        print(report.dribblers_table(found.trials), flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # an exception, so that the servers end too
    sys.exit(main())
