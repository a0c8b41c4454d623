"""The library among threads and processes."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from nequix.native.model import NativeModel, shared_model
from tests.native.test_model import WEIGHTS, graph_of

FORK = """
import os
from tests.native.test_model import WEIGHTS, graph_of
from nequix.native.model import NativeModel
model, graph = NativeModel(WEIGHTS, "float64"), graph_of()
expected = model.evaluate_graph(graph, threads=3)[1]  # threads have run, and are gone
child = os.fork()
if child == 0:
    os._exit(0 if (model.evaluate_graph(graph, threads=3)[1] == expected).all() else 1)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


MANY = """
import numpy as np
from tests.native.test_model import WEIGHTS
from nequix.native.model import NativeModel
def peak():
    with open("/proc/self/status") as status:
        return int(next(line.split()[1] for line in status if line.startswith("VmHWM")))
n = 20_000  # a chain, where every atom receives from the previous one
model, atoms = NativeModel(WEIGHTS, "float64"), np.arange(n, dtype=np.int32)
given = (np.tile([1.5, 0.0, 0.0], (n - 1, 1)), atoms[:-1], atoms[1:], np.zeros(n, np.int32))
for threads in (1, 64):
    before = peak()
    model.evaluate(*given, threads=threads)
    print(peak() - before)
"""


MAKING = """
import os, signal, threading, time
from tests.native.test_model import WEIGHTS
from nequix.native.model import NativeModel, shared_model
make, begun = NativeModel.__init__, threading.Event()
def slowly(*given):
    begun.set()
    time.sleep(1)
    make(*given)
NativeModel.__init__ = slowly
maker = threading.Thread(target=shared_model, args=(WEIGHTS, "float64"))
maker.start()
begun.wait()
child = os.fork()
if child == 0:
    signal.alarm(60)
    shared_model(WEIGHTS, "float32")
    os._exit(0)
maker.join()
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


REGISTERING = """
import os, signal, threading
from tests.native.test_model import WEIGHTS
from nequix.native import library
from nequix.native.model import shared_model
model, register, done = shared_model(WEIGHTS, "float64"), library.load().nequix_register, threading.Event()
def work():
    while not done.is_set():
        for _ in range(1000):  # without Python's lock, but with the library's now and then
            register(model.handle, model.key)
thread = threading.Thread(target=work)
thread.start()
codes = []
for _ in range(100):
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        register(model.handle, model.key)
        os._exit(0)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    if codes[-1]:
        break
done.set()
thread.join()
raise SystemExit(any(codes))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.parametrize("program", [FORK, MAKING, REGISTERING])
def test_a_child_after_fork_works_as_its_parent(program):
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    ran = subprocess.run([sys.executable, "-c", program], cwd=root, env=environment, timeout=300)
    assert ran.returncode == 0


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from Linux's /proc")
def test_memory_does_not_grow_with_threads_times_atoms():
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    ran = subprocess.run(
        [sys.executable, "-c", MANY], cwd=root, env=environment, timeout=300, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    few, many = map(int, ran.stdout.split())
    assert many < 4 * few  # of 64 threads that hear from a small part of the atoms; 60 times, if each had all


def test_shared_models_come_and_go_among_threads():
    graph = graph_of()
    expected = shared_model(WEIGHTS, "float64").evaluate_graph(graph, threads=1)[1]
    differing = []

    def work():
        for _ in range(150):
            model = shared_model(WEIGHTS, "float64")
            if not np.array_equal(model.evaluate_graph(graph, threads=1)[1], expected):
                differing.append(model)
            del model

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not differing


def test_models_are_evaluated_by_several_threads_at_once():
    graph = graph_of()
    models = [NativeModel(WEIGHTS, dtype) for dtype in ("float64", "float32", "float64")]
    expected = [model.evaluate_graph(graph, threads=2)[1] for model in models]
    differing = []

    def work(model, forces):
        for _ in range(20):
            if not np.array_equal(model.evaluate_graph(graph, threads=2)[1], forces):
                differing.append(model)

    threads = [
        threading.Thread(target=work, args=pair) for pair in zip(models * 2, expected * 2, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not differing
    assert [model.calls for model in models] == [41, 41, 41]
