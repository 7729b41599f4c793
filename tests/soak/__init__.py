"""A real server under abuse, on real sockets: what it costs those who behave.

    make soak                                     all of it, with the numbers that are promised (about ten minutes)
    python -m tests.soak --only slowloris,churn   some of it
    python -m tests.soak --quick                  small crowds, a few seconds: what test_soak.py asserts in every run

What it is: a server, a crowd that abuses it, and twenty clients that behave, each in a process of its own (`served`,
`crowds`, `active`, driven through `processes`); `scenarios` plays them against each other, `bars` says what must hold.
What it is not: the benchmarks; nobody is compared with anybody but the server with itself, quiet / abused / quiet.
"""
