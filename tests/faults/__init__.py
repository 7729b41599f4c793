"""Faults that other servers had, and that no test of a module covers: docs/RELIABILITY.md is their list."""
