"""What the native kernels promise against the plain one in float64."""

ENERGY = 1e-9
"""eV/atom, tables included."""

FORCE = 1e-8
"""eV/A, of published models."""

STRESS = 1e-9
"""eV/A^3."""

RELATIVE = 1e-9
"""Of random models with steep radial functions, relative to the largest value: tables are good to 1e-11 of
the radial weights, and derivatives magnify that."""

SINGLE = 2e-5
"""The same in float32: some hundred roundings of 6e-8, where wrong memory would be off by all."""

AS_NEAR = 1.0
"""Float32: root mean square error over a set of structures, over that of the plain kernel in float32. The
error of one structure is luck in either."""
