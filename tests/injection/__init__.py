"""Systematic fault injection: every system call of the engine fails with every errno that its man page lists.

What it is: the engine in a simulated world (`reactor.testing`), a table of its system-call sites taken from its source, a
handful of scenarios that reach them, and a judge that says what must hold after any fault. What it is not: a test of the
simulator, nor of handlers.

    python -m tests.injection                   every single fault
    python -m tests.injection --seeds 20000     as many seeded double faults

Rules:

1. A fault falls on a site (file, function, call, who asked), not on "the third recv": so each site gets its share.
2. A call that appears in the source and not in `sites` fails a test, until a scenario reaches it or a reason says why not.
3. Whatever fails, what was not hit goes on as if nothing had happened.
"""
