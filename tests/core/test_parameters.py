"""Paths and the parameter manifest against the published shape and hand-made cases."""

import numpy as np
import pytest

from nequix.core.parameters import count, group, initialise, manifest
from nequix.core.paths import plan
from nequix.core.spec import ModelSpec

NUMBERS = (*range(1, 84), *range(89, 95))


def spec(**changes):
    return ModelSpec(
        **{"atomic_numbers": NUMBERS, "avg_n_neighbors": 57.0, "scale": 1.0, "shift": 0.0, **changes}
    )


def test_published_shape_has_its_published_size():
    assert count(spec()) == 707_569
    assert sum(parameter.size for parameter in manifest(spec())) == 707_569 + 89


def test_paths_are_ordered_by_l1_l2_and_stably_by_l3():
    layer = plan(spec(hidden_irreps="2x0e + 3x1o", lmax=2, n_layers=2))[0]
    assert [(p.l1, p.l2, p.l3) for p in layer.paths] == [(0, 0, 0), (0, 1, 1)]
    middle = plan(spec(hidden_irreps="2x0e + 3x1o", lmax=2, n_layers=3))[1]
    expected = [(0, 0, 0), (1, 1, 0), (0, 1, 1), (1, 0, 1), (1, 2, 1)]
    assert [(p.l1, p.l2, p.l3) for p in middle.paths] == expected
    assert [p.weight for p in middle.paths] == [0, 2, 5, 7, 10]
    assert [p.channel for p in middle.paths] == [0, 2, 0, 2, 5]
    assert middle.messages == ((0, 5), (1, 8))
    assert middle.preactivation == ((0, 5), (1, 3))


def test_published_layers_have_their_published_widths():
    first, middle, _, last = plan(spec())
    assert middle.messages == ((0, 256), (1, 352), (2, 384), (3, 320))
    assert (first.n_weights, middle.n_weights, last.n_weights) == (356, 1312, 256)
    assert last.outputs == ((0, 128),)
    assert last.n_gates == 0


def test_a_degree_that_nothing_reaches_is_left_out():
    layers = plan(spec(hidden_irreps="4x0e + 4x3o", lmax=1, n_layers=3))
    assert [layer.outputs for layer in layers] == [((0, 4),)] * 3
    assert not any("3o" in p.name for p in manifest(spec(hidden_irreps="4x0e + 4x3o", lmax=1)))


@pytest.mark.parametrize("layer_norm", [True, False])
def test_manifest_separates_the_optimisers_groups(layer_norm):
    parameters = manifest(spec(layer_norm=layer_norm))
    assert len({parameter.name for parameter in parameters}) == len(parameters)
    for parameter in parameters:
        assert parameter.muon == parameter.decay == (len(parameter.shape) == 2)
        assert parameter.learned == (parameter.name != "atom_energies")
        assert (".norm." in parameter.name) == (parameter.init_mean == 1.0)
    assert any(".norm." in parameter.name for parameter in parameters) == layer_norm


def test_initial_values_have_the_stated_spread_and_follow_the_seed():
    small = spec(hidden_irreps="32x0e + 32x1o", n_layers=2)
    one, again, other = initialise(small, 0), initialise(small, 0), initialise(small, 1)
    for parameter in manifest(small):
        values = one[parameter.name]
        assert values.shape == parameter.shape
        np.testing.assert_array_equal(values, again[parameter.name])
        if parameter.init_std:
            assert not np.array_equal(values, other[parameter.name])
            assert abs(values.std() / parameter.init_std - 1) < 6 / np.sqrt(values.size)
    by_name = {parameter.name: parameter for parameter in manifest(small)}
    assert by_name["layers.0.radial.0"].init_std == pytest.approx(np.sqrt(4 / 8))
    assert by_name["layers.0.radial.2"].init_std == pytest.approx(np.sqrt(1 / 64))
    assert by_name["layers.1.linear_2.0e"].init_std == 1.0


def test_initial_atom_energies_are_those_given():
    energies = initialise(spec(), 0, {8: -7.0})["atom_energies"]
    assert energies[7] == -7.0
    assert np.count_nonzero(energies) == 1


def test_grouping_nests_every_parameter_but_the_atom_energies():
    parameters = {parameter.name: parameter.name for parameter in manifest(spec())}
    grouped = group(spec(), parameters)
    assert grouped["layers.2"]["linear_2"]["1o"] == "layers.2.linear_2.1o"
    assert grouped["readout"] == {"0e": "readout.0e"}
    leaves = [
        leaf
        for part in grouped.values()
        for x in part.values()
        for leaf in (x.values() if isinstance(x, dict) else [x])
    ]
    assert sorted(leaves) == sorted(set(parameters) - {"atom_energies"})
