import warnings

import pytest

from nequix.cell_relaxation import cell_relaxation


def test_nothing_is_said_of_rounding_but_of_what_is_more():
    with cell_relaxation():
        warn(2.7283831777619285e-13)
        with pytest.warns(RuntimeWarning, match="0.1"):
            warn(0.1)
    with pytest.warns(RuntimeWarning, match="e-13"):
        warn(2.7283831777619285e-13)


def warn(error):
    """Warn as SciPy does."""
    warnings.warn(f"logm result may be inaccurate, approximate err = {error}", RuntimeWarning, stacklevel=2)
