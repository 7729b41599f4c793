"""What does a server cost? CPU per message, as a ratio to the barest loop there is, in one run.

Requests per second on one's own machine say little: they measure the client, the scheduler and whatever else the
machine was doing that minute. Two things are steadier. One is the *CPU time of the server process* per message: it is
what a message costs, however fast or slowly the load arrives. The other is a *ratio*: the same work done a moment
before and a moment after by a server that consists of nothing but `select.epoll` and a dictionary. Whatever slows
the machine slows both, and the quotient remains. "1.15" then reads: all the comfort of the library, for 15 % more CPU
than a loop that has no table, no deadlines, no limits and no way to end a connection properly.

How it is done, and which file does it:

    bare        the references: a bare epoll loop, and the same loop on `selectors`
    peers       everybody else, asyncio and this library among them, and the one table of those that echo
    sites       unmodified blocking handlers: http.server, files, wsgiref, XML-RPC
    ways        the ways to run them: threads of the standard module (the reference for these), framed, greenlet
    serve       a server's process: pinned to one core, says its port, then serves
    process     the parent's hold on that process: its CPU time, memory and wake-ups
    load        the client: a hundred connections, every reply compared byte by byte
    questions   what the sites are asked, and how a right reply is known
    workloads   what is sent: echo, pipelined lines, connections that come and go, HTTP
    rounds      bursts of each server between two bursts of the reference; medians; when to distrust a run
    idle        ten thousand connections that say nothing: bytes each, and wake-ups, which should be none
    dribblers   a thousand clients send a byte each tenth of a second, one is in a hurry: how long does it wait?
    dribble     those thousand, in a process of their own
    report      the table for people and the JSON for machines

Measure the measurement: one more process of the *same* reference takes part, named `bare-again`, or `threading-again` where
unmodified HTTP handlers are the matter and `ThreadingHTTPServer`, which people have today, is the reference. Its true ratio
is 1. What it shows instead is the error of this run; when that is above 3 %, the run is rejected.

    python -m benchmarks --quick
    python -m benchmarks --only echo,lines --servers asyncio-protocol,reactor --json figures.json
    python -m benchmarks --only http,idle,dribblers --servers framed,greenlet
"""
