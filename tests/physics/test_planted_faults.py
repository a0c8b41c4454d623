"""The tests of physics themselves: each fault below is found."""

import pytest
import torch

import nequix.torch.layers
import nequix.torch.potential
from tests.physics import test_conservation as conservation
from tests.physics import test_cutoff as cutoff
from tests.physics import test_derivatives as derivatives
from tests.physics.differences import difference
from tests.tolerances import DIFFERENCE

MODEL = "l = 3, norm"
layers, potential = nequix.torch.layers, nequix.torch.potential


def scaled(function, factor=1 + 1e-6):
    return lambda *given: function(*given) * factor


def one_sided(gradient, arrays):
    """Give the whole force of an edge to its receiver, and none to its sender."""
    return potential.ops.segment_sum(gradient, arrays.receivers, len(arrays.species))


def twisted(gradient, arrays):
    """Add a force to one atom and its opposite to another: no momentum, but a torque."""
    forces = FORCES(gradient, arrays).clone()
    forces[0, 0] += 1e-6
    forces[1, 0] -= 1e-6
    return forces


def without_envelope(distances, spec):
    n = torch.arange(1, spec.radial_basis_size + 1, dtype=distances.dtype)
    inside = (distances < spec.cutoff)[:, None]
    d = torch.where(inside, distances[:, None], spec.cutoff)
    return torch.where(inside, torch.cos(n * d / spec.cutoff), 0.0)


def one_power_more(distances, spec):
    return RADIAL(distances, spec) * (1 - distances / spec.cutoff)[:, None]


RADIAL = layers.radial_basis
FORCES = potential.forces_from_gradient
FAULTS = {
    "forces off by a millionth": (
        (potential, "forces_from_gradient", scaled(FORCES)),
        lambda: derivatives.test_forces_are_the_slope_of_the_energy("torch", MODEL, "crystal"),
    ),
    "stress off by a millionth": (
        (potential, "virial_from_gradient", scaled(potential.virial_from_gradient)),
        lambda: derivatives.test_stress_is_the_slope_of_the_energy("torch", MODEL),
    ),
    "Hessian off by a millionth": (
        (potential, "hessian_product", scaled(potential.hessian_product)),
        lambda: derivatives.test_hessian_is_the_slope_of_the_forces("torch", MODEL),
    ),
    "momentum": (
        (potential, "forces_from_gradient", one_sided),
        lambda: conservation.test_forces_add_up_to_zero("torch", MODEL, "molecule"),
    ),
    "angular momentum": (
        (potential, "forces_from_gradient", twisted),
        lambda: conservation.test_torques_on_a_molecule_add_up_to_zero("torch", MODEL),
    ),
    "energy": (
        (potential, "forces_from_gradient", scaled(FORCES, 1.1)),
        lambda: conservation.test_motion_of_a_random_molecule_conserves_energy("plain"),
    ),
    "jump at the cutoff": (
        (layers, "radial_basis", without_envelope),
        lambda: cutoff.test_force_changes_no_faster_at_the_cutoff_than_before("torch", MODEL),
    ),
    "another power at the cutoff": (
        (layers, "radial_basis", one_power_more),
        lambda: cutoff.test_energy_and_force_vanish_as_powers_at_the_cutoff("torch", MODEL),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_physics_test_finds_a_planted_fault(fault, monkeypatch):
    where, check = FAULTS[fault]
    check()
    monkeypatch.setattr(*where)
    with pytest.raises(AssertionError, match=r"Not equal|assert .* <"):
        check()


def test_difference_is_of_fourth_order():
    assert difference(lambda t: 3 * t - t**2 + t**4) == pytest.approx(3, rel=DIFFERENCE)
    assert difference(lambda t: t**5, 1.0) == pytest.approx(-4)  # step^4 of a thirtieth of 5!
