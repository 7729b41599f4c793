"""What the tests have taken of the code: the engine first, of which they must take every branch; then all the rest.

What it is: two reports on one measurement, which `make cov` has made before. What it is not: a proof; a branch that was
taken may do the wrong thing, and `make mutants` asks whether anybody would notice. Rules:

1. The engine is floors 0 to 5 of tests/test_layers.py: what every row goes through, whoever handles it.
2. A run of some of the tests (`--some`) is reported and not judged.
"""

import sys

import coverage

from tests.test_layers import FLOORS, ROOT

ENGINE = [str(ROOT / "reactor" / f"{name}.py") for floor in FLOORS[:6] for name in floor.split()]


def main(arguments: list[str], measured: coverage.Coverage | None = None) -> int:
    """Print both reports; return 1 if a branch of the engine was never taken."""
    if measured is None:
        measured = coverage.Coverage()
        measured.load()
    print("Floors 0 to 5, the engine:")
    taken_percent = measured.report(include=ENGINE)
    print("\nEverything else:")
    measured.report(omit=ENGINE)
    if taken_percent == 100 or "--some" in arguments:
        return 0
    print(
        f"\ncov: of floors 0 to 5 only {taken_percent:.2f} % was taken, and it must be 100 %: write a test that needs what "
        "is named above, or remove it if nothing can",
        file=sys.stderr,
    )
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
