"""The tests of socketreactor: `make test`."""
