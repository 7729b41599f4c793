"""What does a server cost? CPU per message, as a ratio to the barest loop there is, in one run.

Requests per second on one's own machine say little: they measure the client, the scheduler and whatever else the
machine was doing that minute. Two things are steadier. One is the *CPU time of the server process* per message: it is
what a message costs, however fast or slowly the load arrives. The other is a *ratio*: the same work done a moment
before and a moment after by a server that consists of nothing but `select.epoll` and a dictionary. Whatever slows
the machine slows both, and the quotient remains. "1.15" then reads: all the comfort of the library, for 15 % more CPU
than a loop that has no table, no deadlines, no limits and no way to end a connection properly.

How it is done, and which file does it:

    bare        the references: a bare epoll loop, and the same loop on `selectors`
    peers       everybody else, asyncio and this library among them, and the one table of all servers
    serve       a server's process: pinned to one core, says its port, then serves
    process     the parent's hold on that process: its CPU time, memory and wake-ups
    load        the client: a hundred connections, every reply compared byte by byte
    workloads   what is sent: echo, pipelined lines, connections that come and go
    rounds      bursts of each server between two bursts of the reference; medians; when to distrust a run
    idle        ten thousand connections that say nothing: bytes each, and wake-ups, which should be none
    report      the table for people and the JSON for machines

Measure the measurement: one more process of the *same* bare loop takes part under the name `bare-again`. Its true ratio
is 1. What it shows instead is the error of this run; when that is above 3 %, the run is rejected.

    python -m benchmarks --quick
    python -m benchmarks --only echo,lines --servers asyncio-protocol,reactor --json figures.json
"""
