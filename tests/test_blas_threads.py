"""SciPy takes one thread while a calculator is used for stresses."""

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import gc
import numpy, scipy.linalg
from threadpoolctl import ThreadpoolController
from tests.calculator.small import WEIGHTS, salt
from nequix import NequixCalculator

def threads(folder):
    libraries = ThreadpoolController().lib_controllers
    return [each.num_threads for each in libraries if folder in each.filepath]

before = threads("scipy.libs"), threads("numpy.libs")
atoms = salt()
atoms.calc = NequixCalculator(WEIGHTS, "native")
atoms.get_forces()
assert (threads("scipy.libs"), threads("numpy.libs")) == before, "nobody asked for the stress"
atoms.get_stress()
used = threads("scipy.libs"), threads("numpy.libs")
other = NequixCalculator(WEIGHTS, "native")
other.get_property("stress", atoms)
atoms.calc = None
gc.collect()
kept = threads("scipy.libs")
del other
gc.collect()
print(before, used, kept, threads("scipy.libs"))
"""


def _threads(**variables):
    root = Path(__file__).parents[1]
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    environment |= {"PYTHONPATH": str(root), **variables}
    command = [sys.executable, "-c", PROGRAM]
    ran = subprocess.run(
        command, cwd=root, env=environment, timeout=300, capture_output=True, text=True, check=True
    )
    return ran.stdout.strip()


def test_the_stress_limits_only_scipy_as_long_as_a_calculator_lives():
    # OMP_NUM_THREADS makes the libraries take two threads on any machine; NumPy's wheels have their own.
    assert _threads(OMP_NUM_THREADS="2") == "([2], [2]) ([1], [2]) [1] [2]"


def test_a_number_that_the_user_sets_for_openblas_stays():
    assert _threads(OPENBLAS_NUM_THREADS="2") == "([2], [2]) ([2], [2]) [2] [2]"
