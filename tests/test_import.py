"""Importing the library does nothing but import it: no socket, no thread, no signal handler, no warning."""

import subprocess
import sys

import pytest

# Runs in a process of its own, where nobody has imported anything yet; what a platform may lack raises if it is used.
PROGRAM = """
import os, signal, socket, threading, _thread

def refuse(*args, **keywords):
    raise AssertionError("used at import")

for module, name in [
    (socket, "socketpair"), (_thread, "start_new_thread"), (threading, "_start_new_thread"), (signal, "signal"),
    (signal, "set_wakeup_fd"), (os, "fork"),
]:
    if hasattr(module, name):
        setattr(module, name, refuse)
socket.socket.__init__ = refuse

def descriptors():
    return sorted(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else []

before = descriptors()
import {module}
assert descriptors() == before, "a descriptor was opened"
assert threading.active_count() == 1
import sys
for name in ("ssl", "asyncio", "greenlet", "unittest"):
    assert name not in sys.modules, name + " was imported"
"""


@pytest.mark.parametrize("module", ["reactor", "reactor.socketserver", "reactor.handlers"])
def test_importing_has_no_side_effects(module: str) -> None:
    program = PROGRAM.replace("{module}", module)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, timeout=20, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
