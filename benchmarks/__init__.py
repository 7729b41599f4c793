"""What does a server cost? CPU per message, as a ratio to the barest loop there is, in one run.

Requests per second on one's own machine say little: they measure the client, the scheduler and whatever else the
machine was doing that minute. Two things are steadier. One is the *CPU time of the server process* per message: it is
what a message costs, however fast or slowly the load arrives. The other is a *ratio*: the same work done a moment
before and a moment after by a server that consists of nothing but `select.epoll` and a dictionary. Whatever slows
the machine slows both, and the quotient remains. "1.15" then reads: all the comfort of the library, for 15 % more CPU
than a loop that has no table, no deadlines, no limits and no way to end a connection properly.

How it is done, and which file does it:

    bare, bare_selectors   the references: a bare epoll loop, and the same loop on `selectors`
    peers       the one table of all servers; peers_asyncio, peers_twisted, peers_others, ours: how they are written
    sites, plain   unmodified blocking handlers: http.server, files, wsgiref, XML-RPC; echo, lines
    ways        the ways to run them: threads of the standard module, framed, greenlet
    tiny        one function that answers an HTTP request, for everybody
    serve       a server's process: pinned to one core, says its port, then serves
    process     the parent's hold on that process: its CPU time, memory and wake-ups
    load        the client: every reply compared byte by byte; and why this load is an honest one
    crowds      clients that come and go, packets, a crowd that dribbles
    questions   what the sites are asked, and how a right reply is known
    workloads   what is sent
    rounds      bursts of each server between two bursts of the reference; medians; when to distrust a run
    idle        ten thousand connections that say nothing: bytes each, and wake-ups, which should be none
    dribblers   a thousand clients send a byte each tenth of a second, one is in a hurry: how long does it wait?
    dribble     those thousand, in a process of their own
    report      the tables for people; results: the JSON; page: the tables of the README; plot: its picture

Measure the measurement: one more process of the *same* reference takes part, named `bare-again`, or `threading-again` where
unmodified HTTP handlers are the matter and `ThreadingHTTPServer`, which people have today, is the reference. Its true ratio
is 1. What it shows instead is the error of this run; when that is above 3 %, the run is rejected.

What a connection costs from its first byte to its last (`close`) depends on what is done, and not all do the same:

    all                  TCP_NODELAY on the accepted socket; recv, send, close (`strace -f -p`, of one connection)
    bare, selectors      just that. No deadline, and a close with unread input destroys the reply on its way
    reactor              a row with deadlines; shuts its side and reads until the peer's end, or for 2 s, so that no reply is
                         destroyed (see `reactor.streams`): two system calls and a wake-up that nobody else has
    asyncio, Tornado     registered with epoll one turn after the accept, closed one turn after the reply
    uvloop               the same, with accept4 and epoll_ctl by io_uring in C; threads that it has do nothing here
    gevent, trio         a greenlet or a task for each connection; they try recv before they ask the poller, as reactor does
    Twisted              sends when epoll says that it may; shuts both sides
    threading            a thread for each connection; shuts its side

    python -m benchmarks --quick
    python -m benchmarks --json benchmarks/results.json && python -m benchmarks.page
    python -m benchmarks --only echo,lines --servers asyncio-protocol,coroutine --json figures.json --plot figures.svg
    python -m benchmarks --only http,idle,dribblers --servers framed,greenlet
"""
