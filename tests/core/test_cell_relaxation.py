import warnings

import pytest

from nequix.core.cell_relaxation import cell_relaxation


def test_nothing_is_said_of_rounding_and_other_warnings_pass():
    with cell_relaxation():
        warnings.warn(
            "logm result may be inaccurate, approximate err = 2.7e-13", RuntimeWarning, stacklevel=1
        )
        with pytest.warns(RuntimeWarning, match="overflow"):
            warnings.warn("overflow", RuntimeWarning, stacklevel=1)
    with pytest.warns(RuntimeWarning, match="logm"):
        warnings.warn(
            "logm result may be inaccurate, approximate err = 2.7e-13", RuntimeWarning, stacklevel=1
        )
