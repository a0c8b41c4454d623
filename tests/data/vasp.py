"""Small outputs of VASP, with an energy extrapolated to zero smearing that differs from the free energy."""

from pathlib import Path

FREE, EXTRAPOLATED = -10.5, -10.25
"""eV."""

FORCES = [[0.1, 0.2, 0.3], [-0.1, -0.2, -0.3]]
"""eV/A, raw; the first atom is fixed."""

KBAR = [10.0, 20.0, 30.0, 4.0, 5.0, 6.0]
"""Stress as VASP prints it, kB: xx yy zz xy yz zx, positive under compression."""

CELL = 4.0
_POSITIONS = [[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]]


def _rows(name: str, rows: list[list]) -> str:
    return (
        f'<varray name="{name}">' + "".join(f"<v>{' '.join(map(str, row))}</v>" for row in rows) + "</varray>"
    )


def write_vasprun(path: Path) -> Path:
    """Write a vasprun.xml of one ionic step, with selective dynamics."""
    basis = _rows("basis", [[CELL, 0, 0], [0, CELL, 0], [0, 0, CELL]])
    selective = '<varray name="selective"><v type="logical">F F F</v><v type="logical">T T T</v></varray>'
    structure = f"<crystal>{basis}</crystal>{_rows('positions', _POSITIONS)}"
    xx, yy, zz, xy, yz, zx = KBAR
    stress = _rows("stress", [[xx, xy, zx], [xy, yy, yz], [zx, yz, zz]])
    energies = f'<i name="e_fr_energy">{FREE}</i><i name="e_wo_entrp">{EXTRAPOLATED}</i>'
    energies += f'<i name="e_0_energy">{EXTRAPOLATED}</i>'
    path.write_text(
        '<?xml version="1.0"?><modeling>'
        '<kpoints><varray name="kpointlist"><v>0 0 0</v></varray>'
        '<varray name="weights"><v>1</v></varray></kpoints>'
        '<atominfo><array name="atoms"><set><rc><c>Si</c><c>1</c></rc><rc><c>Si</c><c>1</c></rc></set>'
        "</array></atominfo>"
        f'<structure name="initialpos">{structure}{selective}</structure>'
        f"<calculation><scstep><energy>{energies}</energy></scstep><structure>{structure}</structure>"
        f"{_rows('forces', FORCES)}{stress}<energy>{energies}</energy></calculation></modeling>"
    )
    return path


def write_outcar(path: Path) -> Path:
    """Write the parts of an OUTCAR that have labels, of one ionic step."""
    positions = [[CELL * x for x in row] for row in _POSITIONS]
    atoms = "\n".join(
        " ".join(f"{value:12.5f}" for value in [*position, *force])
        for position, force in zip(positions, FORCES, strict=True)
    )
    vectors = "\n".join(" ".join(f"{CELL * (i == j):.6f}" for j in [0, 1, 2, 0, 1, 2]) for i in range(3))
    path.write_text(
        " POTCAR:    PAW_PBE Si 05Jan2001\n POTCAR:    PAW_PBE Si 05Jan2001\n"
        "   ions per type =               2\n   ISPIN  =      1    spin polarized calculation?\n"
        "   k-points           NKPTS =      1   k-points in BZ     NKDIM =      1   "
        "number of bands    NBANDS=      4\n"
        "   k-points in reciprocal lattice and weights:\n   0.00000000  0.00000000  0.00000000       1.000\n"
        "---- Iteration      1(   1) ----\n"
        f"  in kB   {' '.join(map(str, KBAR))}\n"
        f"      direct lattice vectors                 reciprocal lattice vectors\n{vectors}\n"
        f" POSITION                                       TOTAL-FORCE (eV/Angst)\n ----\n{atoms}\n"
        "  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)\n  ----\n"
        f"  free  energy   TOTEN  =       {FREE} eV\n\n"
        f"  energy  without entropy=      {EXTRAPOLATED}  energy(sigma->0) =      {EXTRAPOLATED}\n"
    )
    return path
