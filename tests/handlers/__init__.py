"""Tests of the ready-made protocols, on real sockets."""
