# `make` alone lists the targets. Every target makes what it needs, so a fresh clone needs nothing but Python.

PYTHON ?= python3
VENV ?= .venv
ARGS ?=

PY := $(VENV)/bin/python
NEEDED := 3, 11

.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help demo test packages cov lint types check conformance mutants seeds soak wasm bare selectors bench clean

help:  ## list the targets
	@echo "make TARGET [PYTHON=python3.X] [VENV=.venv] [ARGS=...]"
	@sed -n 's/^\([a-z]*\):[^#]*## \(.*\)/  \1 \2/p' $(firstword $(MAKEFILE_LIST)) \
		| while read -r target text; do printf '  %-12s %s\n' "$$target" "$$text"; done

demo: $(VENV)/.installed  ## run the demo (ARGS=--once: one round, then stop)
	$(PY) examples/demo.py $(ARGS)

test: $(VENV)/.installed-test  ## run every test (ARGS='-k table' for some)
	$(PY) -m pytest $(ARGS)

packages: $(VENV)/.installed-packages  ## install real packages that subclass socketserver, and run them on this library
	$(PY) -m pytest tests/packages $(ARGS)

# Threads, children and the main program write a file each, which are one from `combine` on.
cov: $(VENV)/.installed-test  ## run the tests and report the branches they never took: none of floors 0-5
	$(PY) -m coverage erase
	$(PY) -m coverage run -m pytest $(ARGS)
	$(PY) -m coverage combine --quiet
	$(PY) -m tests.covered $(if $(ARGS),--some)

lint: $(VENV)/.installed-dev  ## ruff
	$(PY) -m ruff check .

# mypy knows nothing of package_dir, so it gets a tree in which handlers/ already is reactor/handlers.
types: $(VENV)/.installed-dev  ## mypy --strict: reactor, reactor.handlers, then the examples
	@rm -rf build/types && mkdir -p build/types
	@cp -Rp reactor build/types/reactor && cp -Rp handlers build/types/reactor/handlers
	cd build/types && $(abspath $(PY)) -m mypy --config-file $(CURDIR)/setup.cfg --strict -p reactor
	@cp -Rp examples build/types/examples
	cd build/types && $(abspath $(PY)) -m mypy --config-file $(CURDIR)/setup.cfg --strict \
		--explicit-package-bases examples

check: lint types test  ## lint, types and tests: what a change must pass

conformance:  ## CPython's own tests of socketserver and what is built on it, in every way, on every Python found
	@pythons=$$(.ci/pythons) || exit 1; status=0; for python in $$pythons; do \
		venv=.venv-$$("$$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])'); \
		$(MAKE) --no-print-directory PYTHON="$$python" VENV="$$venv" "$$venv/.installed-test" && \
		"$$venv/bin/python" -m tests.conformance --module socketserver --module reactor.socketserver $(ARGS) \
		|| status=1; \
	done; exit $$status

mutants: $(VENV)/.installed-test  ## plant faults and see the tests catch them (ARGS='hosting.py' for some)
	$(PY) -m tests.mutants $(ARGS)

seeds: $(VENV)/.installed-test  ## 20,000 simulated worlds, each drawn from a seed (ARGS='--seed 7' for one)
	$(PY) -m tests.seeds $(ARGS)

wasm: $(VENV)/.installed-test  ## the tests that make no real socket, on CPython on WebAssembly (gets node and Pyodide)
	$(PY) -m tests.wasm $(ARGS)

ELSEWHERE := --ignore=tests/packages --ignore=tests/conformance --ignore=tests/mutants
bare: $(VENV)/.installed-test  ## the tests without fork, threads and socket pairs, but for those that need them
	REACTOR_TESTS_WITHOUT=fork,thread,socketpair $(PY) -m pytest $(ELSEWHERE) $(ARGS)

selectors: $(VENV)/.installed-test  ## the tests where poll is the best selector, then where select is
	REACTOR_TESTS_WITHOUT=epoll,kqueue,devpoll $(PY) -m pytest $(ELSEWHERE) $(ARGS)
	REACTOR_TESTS_WITHOUT=epoll,kqueue,devpoll,poll $(PY) -m pytest $(ELSEWHERE) $(ARGS)

soak: $(VENV)/.installed-test  ## abuse a server with thousands of connections (ARGS='--only churn', '--quick')
	$(PY) -m tests.soak $(ARGS)

bench: $(VENV)/.installed-bench  ## measure CPU per message, beside peers (ARGS=--quick: in a minute)
	$(PY) -m benchmarks $(ARGS)

clean:  ## remove the virtual environments and everything built
	rm -rf .venv .venv-* $(VENV) build dist *.egg-info .coverage .coverage.* htmlcov
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# One stamp for each set of packages; a changed setup.cfg installs again.

$(VENV)/.made:
	@"$(PYTHON)" -c '' 2>/dev/null || { \
		echo "make: '$(PYTHON)' is missing or does not run; name a Python >= 3.11: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < ($(NEEDED)))' || { \
		echo "make: socketreactor needs Python >= 3.11, but '$(PYTHON)' is $$("$(PYTHON)" -V 2>&1); name another:" \
			"make PYTHON=/path/to/python3.12" >&2; exit 1; }
	"$(PYTHON)" -m venv --clear "$(VENV)"
	@touch $@

$(VENV)/.installed: $(VENV)/.made setup.cfg pyproject.toml
	$(PY) -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.installed-%: $(VENV)/.made setup.cfg pyproject.toml
	$(PY) -m pip install --quiet --disable-pip-version-check -e '.[$*]'
	@touch $@
