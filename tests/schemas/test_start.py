"""How a command's process ends: with its own code, when all that it began is done."""

import subprocess
import sys

from places import ROOT

# Its thread still works when `main` returns, and what the C library calls last aborts, as threads
# of Arrow and Ray did that were alive then.
COMMAND = """
import atexit, ctypes, sys, threading, time
from schemas.start import start

def write():
    time.sleep(0.3)
    print("the thread is done")

def main():
    library = ctypes.CDLL(None)
    library.__cxa_atexit(library.abort, None, None)
    atexit.register(print, "handlers are called")
    threading.Thread(target=write).start()
    print("main is done", end=" ")
    return 7

sys.modules["command"] = sys.modules["__main__"]
start("command")
"""


def test_libraries_that_crash_when_they_are_unloaded_do_not_change_the_exit_code():
    done = subprocess.run(
        [sys.executable, "-c", COMMAND], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.stdout == "main is done the thread is done\nhandlers are called\n"
    assert (done.returncode, done.stderr) == (7, "")
