"""The same tests on platforms that have less than this one.

`lacking` takes things away, `needs` lists the tests that cannot do without one, `child/` does the same to the processes
that tests start, and `plugin` is the part that pytest sees.
"""
