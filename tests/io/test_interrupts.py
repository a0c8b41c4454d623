"""Ctrl-C and SIGTERM: what is kept is said, and a compilation does not delay the end."""

import os
import signal
import subprocess
import sys
import time

import pytest

from nequix.io.interrupts import Interrupted, compiling, interruptible, on_interrupt, stop_signals

STUCK = """
import hashlib, os, threading
from nequix.io.interrupts import compiling, interruptible, on_interrupt, stop_signals

with {context}, on_interrupt(lambda: "3 items are kept"), compiling("JAX compiles a test"):
    threading.Timer(0.5, os.kill, (os.getpid(), {number})).start()
    hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)  # one call into C, of minutes
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_innermost_report_says_what_was_kept(number):
    def work():
        with interruptible(), on_interrupt(lambda: "outer"), on_interrupt(lambda: "2 of 3 items"):
            try:
                os.kill(os.getpid(), number)
                time.sleep(10)
            except Exception:
                pytest.fail("caught by an except Exception")

    with pytest.raises(Interrupted) as caught:
        work()
    assert caught.value.exit_code == 128 + number
    assert str(caught.value).startswith("interrupted (")
    assert str(caught.value).endswith(": 2 of 3 items")


def test_handlers_are_restored():
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with interruptible(), stop_signals() as received, compiling("nothing"):
        os.kill(os.getpid(), signal.SIGTERM)
    assert received == [signal.SIGTERM]
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before
    assert signal.set_wakeup_fd(-1) == -1


def test_a_child_that_was_forked_within_does_not_delay_the_end():
    code = """
import os, time
from nequix.io.interrupts import interruptible
with interruptible():
    child = os.fork()
    if not child:
        time.sleep(60)
os.kill(child, 9)
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=30)


@pytest.mark.parametrize(
    ("context", "number"),
    [
        ("interruptible()", signal.SIGTERM),
        ("interruptible()", signal.SIGINT),
        ("interruptible(), stop_signals()", signal.SIGINT),
        ("stop_signals()", signal.SIGTERM),
    ],
)
def test_a_signal_ends_a_compilation_within_seconds(context, number):
    command = [sys.executable, "-c", STUCK.format(context=context, number=int(number))]
    process = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert process.returncode == 128 + number
    assert "while JAX compiles a test: 3 items are kept" in process.stderr
    assert ("JAX compiles a test ..." in process.stderr) == ("interruptible" in context)
