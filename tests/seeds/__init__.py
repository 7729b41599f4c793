"""Small worlds in plenty, each drawn from a seed: whatever peers do, whatever fails, whatever operators and handlers do.

    make seeds                                          20,000 of them, in under three minutes
    python -m tests.seeds --from 0 --count 1000000      more
    python -m tests.seeds --seed 4711                   one, with its trace

What it is: `drawn` writes a world down as data, `play` carries that out in a simulation, `judge` says what is wrong, and
`shrink` leaves away what a failure does not need. What it is not: complete in system calls; every errno at every site is
`tests.injection`. Rules:

1. Each payload names its connection, and what it must be answered is computed by `wire`, which knows nothing of the engine.
2. A world is a function of its seed, in any process, under any PYTHONHASHSEED.
3. Whoever behaves and is not hit must get everything; whoever is cut off, a part from the beginning that ends where an
   answer ends, or a reset. Nobody is excused from the first half of that.
"""
