"""The specification: what is refused, and that JSON loses nothing."""

import json

import pytest

from nequix.core import irreps
from nequix.core.errors import SpecError
from nequix.core.spec import ModelSpec

REQUIRED = {"atomic_numbers": (1, 8), "avg_n_neighbors": 30.0, "scale": 0.8, "shift": 0.1}


def spec(**changes):
    return ModelSpec(**{**REQUIRED, **changes})


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("atomic_numbers", (8, 1), "ascending"),
        ("atomic_numbers", (), "non-empty"),
        ("atomic_numbers", (1, 1), "without repeats"),
        ("atomic_numbers", (0,), "from 1 to 118"),
        ("atomic_numbers", 8, "list of integers"),
        ("avg_n_neighbors", 0.0, "from 1e-06 to 1e\\+06"),
        ("cutoff", -1.0, "from 0.1 to 20 A"),
        ("cutoff", 300.0, "from 0.1 to 20 A"),
        ("cutoff", 1e300, "from 0.1 to 20 A"),
        ("cutoff", float("nan"), "finite"),
        ("scale", 10**400, "finite"),
        ("scale", 0.0, "magnitude from 1e-09"),
        ("scale", -1e7, "to 1e\\+06"),
        ("shift", -1.7e308, "from -1e\\+07 to 1e\\+07 eV"),
        ("shift", "0", "finite"),
        ("radial_polynomial_p", 1.5, "from 2 to 100"),
        ("radial_polynomial_p", 1100, "from 2 to 100"),
        ("n_layers", 0, "from 1 to 64"),
        ("radial_basis_size", 513, "from 1 to 512"),
        ("radial_mlp_size", 4097, "from 1 to 4096"),
        ("radial_mlp_layers", 17, "from 1 to 16"),
        ("n_layers", 2.0, "integer"),
        ("n_layers", True, "integer"),
        ("lmax", 9, "from 0 to 8"),
        ("layer_norm", 1, "true or false"),
        ("hidden_irreps", 128, "must be text"),
        ("hidden_irreps", "64x1o", "no 0e"),
        ("hidden_irreps", "8x0e + 8x1e", "unnatural"),
        ("hidden_irreps", "8x0e + 8x0e", "appears twice"),
        ("hidden_irreps", "8x0e + 0x1o", "no channels"),
        ("hidden_irreps", "8x0e + 8x5o", "above the supported 4"),
        ("hidden_irreps", "8x0e, 8x1o", "cannot read"),
        ("hidden_irreps", "4097x0e", "at most 4096 channels"),
        ("hidden_irreps", "", "cannot read"),
        ("hidden_irreps", "9" * 5000 + "x0e", "cannot read"),
    ],
)
def test_spec_refuses_and_names_the_field(field, value, message):
    with pytest.raises(SpecError, match=message) as raised:
        spec(**{field: value})
    assert field in str(raised.value) or "irreps" in str(raised.value)


def test_spec_survives_json():
    one = spec(hidden_irreps="4x2e+8x0e", cutoff=5, radial_polynomial_p=6.5, layer_norm=False)
    assert ModelSpec.from_json(one.to_json()) == one
    assert one.hidden_irreps == "8x0e + 4x2e"
    assert one.hidden == {0: 8, 2: 4}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "newer nequix"),
        ({"version": True}, "version True"),
        ({"colour": "red"}, r"unknown \['colour'\]"),
        ({"cutoff": None}, "cutoff = None"),
    ],
)
def test_spec_refuses_foreign_json(change, message):
    values = {**json.loads(spec().to_json()), **change}
    with pytest.raises(SpecError, match=message):
        ModelSpec.from_json(json.dumps(values))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "JSON"),
        ("{", "JSON"),
        ("[" * 100_000, "nested"),
        ('{"a": ' * 100_000, "nested"),
        ('{"lmax": ' + "[" * 80 + "]" * 80 + "}", "nested more than 64 levels"),
        ("null", "JSON"),
        ('{"lmax": 1, "lmax": 2}', "'lmax' appears twice"),
        ('{"cutoff": Infinity}', "Infinity is not a number"),
        ('{"lmax": ' + "9" * 10_000 + "}", "JSON"),
    ],
)
def test_spec_refuses_what_is_not_a_json_object(text, message):
    with pytest.raises(SpecError, match=message) as raised:
        ModelSpec.from_json(text)
    assert len(str(raised.value)) < 300


def test_spec_refuses_json_without_a_field():
    values = json.loads(spec().to_json())
    del values["lmax"]
    with pytest.raises(SpecError, match=r"missing \['lmax'\]"):
        ModelSpec.from_dict(values)


def test_irreps_are_written_as_they_are_read():
    text = "128x0e + 64x1o + 32x2e + 32x3o"
    assert irreps.format(irreps.parse(text)) == text
    assert irreps.parse("2x3o+0e") == {0: 1, 3: 2}


def test_spec_takes_numpy_scalars():
    import numpy as np

    one = spec(atomic_numbers=np.array([1, 8]), n_layers=np.int32(3), cutoff=np.float32(5))
    assert one == spec(n_layers=3, cutoff=5.0)
    assert ModelSpec.from_json(one.to_json()) == one
