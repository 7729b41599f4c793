"""The tests of what makes no real socket, on CPython on WebAssembly, where fork, threads and socket pairs really fail.

`__main__` gets what is needed, `run.mjs` starts Python in node, `inside` runs pytest in it, and `chosen` says which tests.
"""
