"""Ctrl-C and SIGTERM: what is kept is said, and a compilation does not delay the end."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from nequix.io import interrupts
from nequix.io.interrupts import Interrupted, compiling, interruptible, on_interrupt, stop_signals

CAPTURED = {"capture_output": True, "text": True, "timeout": 300, "check": False}
"""Of a process that ends within seconds, and later on a busy machine; otherwise it runs for minutes."""

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


@pytest.fixture(autouse=True)
def _patient(monkeypatch):
    """On a busy machine the main thread may take long: the watch must not end this process meanwhile."""
    monkeypatch.setattr(interrupts, "GRACE", 600.0)


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
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=55)


def test_a_report_that_fails_does_not_delay_the_end():
    code = STUCK.format(context="interruptible()", number=int(signal.SIGTERM))
    code = code.replace('lambda: "3 items are kept"', "lambda: 1 / 0").replace("Timer(0.5", "Timer(0.1")
    process = subprocess.run([sys.executable, "-c", f"print('before')\n{code}"], **CAPTURED)
    assert process.returncode == 128 + signal.SIGTERM
    assert "the result could not be written (division by zero)" in process.stderr
    assert "Traceback" not in process.stderr
    assert process.stdout == "before\n"  # what was printed is not lost


@pytest.mark.parametrize("call", ["set_wakeup_fd", "start"])
def test_a_signal_while_the_watch_begins_leaves_nothing_behind(monkeypatch, call):
    """A signal right after each of the calls; afterwards the process is as it was."""
    place = signal if call == "set_wakeup_fd" else threading.Thread
    original = getattr(place, call)

    def interrupted(*arguments, **options):
        value = original(*arguments, **options)
        monkeypatch.undo()
        os.kill(os.getpid(), signal.SIGTERM)
        return value

    before, threads = signal.getsignal(signal.SIGTERM), threading.active_count()
    monkeypatch.setattr(place, call, interrupted)
    with pytest.raises(Interrupted), interruptible():
        pytest.fail("no signal")
    assert signal.getsignal(signal.SIGTERM) == before
    assert signal.set_wakeup_fd(-1) == -1
    assert threading.active_count() == threads
    assert interrupts._watched == interrupts._commands == []


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
    process = subprocess.run(command, **CAPTURED)
    assert process.returncode == 128 + number
    assert "while JAX compiles a test: 3 items are kept" in process.stderr
    assert ("JAX compiles a test ..." in process.stderr) == ("interruptible" in context)
