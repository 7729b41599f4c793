"""CPython's own tests of `socketserver`, run on `reactor.socketserver`: `make conformance`, part of `make test`."""
