import pytest

from nequix import NequixCalculator
from tests.calculator import small
from tests.calculator.small import BACKENDS, WEIGHTS


@pytest.fixture(scope="module", params=BACKENDS)
def calc(request):
    return NequixCalculator(WEIGHTS, request.param, dtype="float64")


@pytest.fixture
def salt(calc):
    atoms = small.salt()
    atoms.calc = calc
    return atoms
