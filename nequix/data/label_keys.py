"""The keys under which labels are looked for."""

from __future__ import annotations

from dataclasses import dataclass

from nequix.core.errors import DataError

KEY_OPTIONS = (
    "--energy-key, --forces-key, --stress-key or --virial-key, in a configuration data.energy_key and so on; "
    "for a command without these options, run `nequix data convert` first"
)
"""How users name a key, for messages."""


@dataclass(frozen=True)
class LabelKeys:
    """Keys under which labels are looked for. Labels under several of them must agree.

    Attributes:
        energy: eV, of the whole structure.
        forces: eV/A.
        stress: eV/A^3, positive under tension (ASE's sign); six numbers are xx yy zz yz xz xy.
        virial: eV, ``-volume * stress``; another spelling of the stress.
    """

    energy: tuple[str, ...] = ("energy", "REF_energy", "dft_energy", "DFT_energy")
    forces: tuple[str, ...] = ("forces", "force", "REF_forces", "dft_forces", "DFT_forces")
    stress: tuple[str, ...] = ("stress", "REF_stress", "dft_stress", "DFT_stress")
    virial: tuple[str, ...] = ("virial", "virials", "REF_virial", "REF_virials", "dft_virial", "DFT_virial")

    @classmethod
    def of(
        cls,
        energy: str | None = None,
        forces: str | None = None,
        stress: str | None = None,
        virial: str | None = None,
    ) -> LabelKeys:
        """Look for the named labels under these keys only, and for the others under the usual keys.

        If a stress or a virial is named, the usual keys of both are ignored.

        Args:
            energy: Key of the energy.
            forces: Key of the forces.
            stress: Key of the stress, eV/A^3.
            virial: Key of the virial, eV.

        Raises:
            DataError: If a key is empty, a stress key says virial, or a virial key says stress.

        Example:
            >>> LabelKeys.of(virial="PBE_virial").named()
            {'stress': 'PBE_virial'}
        """
        named = {"energy": energy, "forces": forces, "stress": stress, "virial": virial}
        for label, key in names_of(named).items():
            if not key:
                raise DataError(f"{label}_key is empty; name a key, or leave it out for the usual ones")
        _refuse_other("stress", stress, "virial", "a virial (eV), not a stress (eV/A^3)")
        _refuse_other("virial", virial, "stress", "a stress (eV/A^3), not a virial (eV)")
        keys = {label: (key,) for label, key in names_of(named).items()}
        if stress is not None or virial is not None:
            keys = {"stress": (), "virial": (), **keys}
        return cls(**keys)

    def named(self) -> dict[str, str]:
        """Return the key of each label that was named; a virial counts as the stress."""
        usual = LabelKeys()
        keys = {label: getattr(self, label) for label in ("energy", "forces")}
        named = {label: " or ".join(keys[label]) for label in keys if keys[label] != getattr(usual, label)}
        if (self.stress, self.virial) != (usual.stress, usual.virial):
            named["stress"] = " or ".join((*self.stress, *self.virial))
        return named


def names_of(keys: dict[str, str | None]) -> dict[str, str]:
    """Return the keys that are named.

    Args:
        keys: Key of each label, or None for the usual ones.
    """
    return {label: key for label, key in keys.items() if key is not None}


def _refuse_other(label: str, key: str | None, other: str, meaning: str) -> None:
    """Reject a key that says it holds the other spelling of the stress."""
    if key is not None and other in key.lower() and label not in key.lower():
        option = f"--{other}-key (data.{other}_key in a configuration)"
        raise DataError(f"{label}_key = {key!r} names {meaning}; give {option} instead")
