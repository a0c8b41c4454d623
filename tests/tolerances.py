"""Every tolerance of the tests, each with its reason.

Relative ones are relative to the size of the terms that are summed, not to the sum, which may cancel;
``tests/parity/compare.py`` says what these sizes are.
"""

# Same mathematics in another order of operations.
PARITY_FLOAT64 = 1e-10
"""Rounding is 1e-16 an operation. Of 2000 random models and graphs the worst was 3e-13, where radial
functions are steepest or a norm divides by little; the least of wrong formulas is far above."""

PARITY_FLOAT32 = 1e-4
"""The same with 6e-8 an operation: the worst was 2e-5."""

PARITY_FLOAT32_DERIVATIVES = 1e-3
"""Hessian products and parameter gradients of forces: each derivative magnifies rounding by the slope of
the radial functions once more; the worst was 7e-5."""

# Published reference numbers: eV per atom, eV/A, eV/A^3, eV/A^2.
REFERENCE_FLOAT64 = {"energy": 1e-9, "forces": 1e-8, "stress": 1e-9, "hessian": 1e-8, "features": 1e-9}
"""What the reference numbers promise; features are of order one, as energies are."""

REFERENCE_FLOAT32 = {"energy": 5e-6, "forces": 5e-5, "stress": 1e-6}
"""What the reference numbers promise: an eV-sized energy of 700,000 products in float32."""

REFERENCE_FLOAT32_FORCES_RELATIVE = 1e-5
"""Instead, for forces above 5 eV/A, where their digits end."""

# Symmetries, in float64 and with random models of order one.
SYMMETRY = 1e-10
"""Rotated coordinates round to 1e-16 of lengths near 10 A, which the model amplifies as in PARITY_FLOAT64."""

# Finite differences in float64: central, of fourth order, see tests/physics/differences.py.
DIFFERENCE_STEP = 3e-5
"""A, or strain. The radial functions of random models vary in 0.01 A: truncation is (step / 0.01 A)^4 = 1e-10
of the derivative, rounding 1e-16 / step of the energy: about as much."""

DIFFERENCE = 1e-8
"""Relative. The worst seen is 3e-10, and falls with the fourth power of the step."""

# Motion.
TOTAL_FORCE = 1e-12
"""eV/A, relative to the largest force: pairs cancel up to the rounding of sums of a hundred terms."""

TORQUE = 1e-10
"""eV, relative to the largest force times 1 A: rotational invariance holds up to rounding, as in SYMMETRY."""

NVE_DRIFT = 2e-5
"""eV per atom over 500 steps: a two-thousandth of the thermal energy at 300 K; typical is a tenth of it.
Forces that are not the derivative of the energy gain more in a few steps."""

NVE_SWING = 2e-4
"""eV per atom: velocity Verlet's own error, of second order in the time step, comes and goes."""

# ASE's tools with the calculator and small random weights: tests/calculator/test_ase.py.
VIBRATIONS_HESSIAN = 1e-5
"""eV/A^2: Vibrations takes central differences of forces, here over 1e-4 A. The worst was 2e-6, of 9, and
falls with the square of the step."""

VIBRATIONS_ENERGIES = 1e-7
"""eV: the Hessian's error, over twice the root of its eigenvalue; the worst was 1e-8."""

DYNAMICS_DRIFT = 1e-6
"""eV per atom over 30 steps of 0.5 fs: velocity Verlet's own error, which comes and goes. The worst was 7e-8,
and falls with the square of the time step."""

ACOUSTIC = 1e-6
"""eV, at the zone's centre: the root of an eigenvalue that the sum rule makes zero but for rounding; the
worst was 1e-9, modes at the zone's edge are near 0.04."""

# Neighbour lists.
CUTOFF_ROUNDING = 1e-9
"""A: a pair this near to the cutoff may be in the list or not; its envelope is zero to rounding."""

# The cutoff.
CUTOFF_ORDER = 0.1
"""Relative: the next order of the envelope is a hundredth of the gap, times the degree of its polynomial."""

CUTOFF_REST = 1e-14
"""Relative: nothing but the order of sums differs from lone atoms."""
