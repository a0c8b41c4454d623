"""The pair style for LAMMPS (docs/lammps.md): its sources, and what compiles them."""
