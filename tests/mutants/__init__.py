"""A test of the tests: faults of one line, planted on purpose, each of which the tests must notice.

What it is: a list of what users of socketserver and of the engine rely on (`points`), for each point at least one fault
that breaks it (`planted_*`), and a runner that plants each fault into a throw-away copy of the package and runs there
the few tests that are to fail. What it is not: a search for faults; each was written by hand because somebody could make it.

    python -m tests.mutants                 all of them; the exit status says whether every one was caught
    python -m tests.mutants NAME...         some of them; part of a name is enough
    python -m tests.mutants --table         point -> fault -> tests, without running anything

Rules: the old text must be in the file exactly once, so a fault that the code has outgrown is an error, not a silence ·
the same tests must pass on the copy without a fault · what the copy runs must be the copy, which it proves itself ·
a fault that cannot change what anybody sees is no fault: it does not belong here.
"""
