"""A fine-tuning run: a training run with another result."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import jax
import numpy as np

from nequix.core.errors import DataError
from nequix.core.parameters import manifest
from nequix.finetune.config import FinetuneConfig
from nequix.finetune.modes import trained_names
from nequix.io.files import write_atomic
from nequix.io.weights import Provenance, Weights
from nequix.train.config import same_run
from nequix.train.folder import CONFIG, Folder
from nequix.train.loop import BEST, MODEL, Run
from nequix.train.run_parts import Program, Progress, RunData
from nequix.train.statistics_cache import untouched
from nequix.train.streams import Other


class FineTuning(Run):
    """A fine-tuning in a folder, as :func:`nequix.finetune.opening.open_fine_tuning` opens it.

    Args:
        config: The configuration.
        own: The run directory, with its lock.
        data: The data, and the model that is trained.
        program: The functions that run on the devices.
        progress: How far the run is.
        parent: The model to start from.
        change: What was added to the atom energies, eV by atomic number; empty if they were not refitted, or
            before this process began.

    Attributes:
        trained: Names of the parameters that are trained.
    """

    config: FinetuneConfig

    def __init__(
        self,
        config: FinetuneConfig,
        own: Folder,
        data: RunData,
        program: Program,
        progress: Progress,
        parent: Weights,
        change: dict[int, float],
    ) -> None:
        super().__init__(config, own, data, program, progress)
        self.parent: Weights = parent
        self.change: dict[int, float] = change
        self.trained: list[str] = trained_names(parent.spec, config.mode)

    def describe(self) -> str:
        """Summarise model, data and training in a few lines."""
        from ase.data import chemical_symbols

        sizes = {parameter.name: parameter.size for parameter in manifest(self.spec)}
        n_trained = sum(sizes[name] for name in self.trained)
        lines = [
            f"{self.config.mode} of {self.parent.provenance.name}: {n_trained:,} parameters in "
            f"{len(self.trained)} tensors are trained"
        ]
        if self.change:
            changes = ", ".join(f"{chemical_symbols[n]} {x:+.4f}" for n, x in self.change.items())
            lines.append(f"atom energies refitted, eV: {changes}")
        lines += [f"beside them in every step: {self._describe_other(other)}" for other in self.others]
        return "\n".join([*lines, super().describe()])

    def _describe_other(self, other: Other) -> str:
        loader, kind = other.loader, "columns of Hessians" if other.hessian else "structures of replay"
        return f"{len(loader.sizes) / loader.steps_per_epoch:.3g} of {len(loader.sizes)} {kind}"

    def _before_first(self) -> None:
        """Begin with a validation; the best one, including the parent's, is the result."""
        self._validate(0)

    def _conclude(self) -> None:
        if self.valid is None:
            self.write()
        elif jax.process_index() == 0:
            if (self.folder / MODEL).is_file() and not (self.folder / BEST).is_file():
                return  # concluded before
            require_best(self.folder)
            write_atomic(self.folder / MODEL, [(self.folder / BEST).read_bytes()])

    def _averaged(self) -> dict[str, np.ndarray]:
        """Return the parent's values of all untrained parameters, independent of the run's precision."""
        changed = super()._averaged()
        own = {*self.trained, *(["atom_energies"] if self.config.refit_atom_energies else [])}
        return {
            name: changed[name].astype(values.dtype) if name in own else values
            for name, values in self.parent.parameters.items()
        }

    def _provenance(self) -> Provenance:
        provenance, parent = super()._provenance(), self.parent.provenance
        data = ", ".join(Path(name).name for name in self.config.data.train)
        extra = {
            **provenance.extra,
            "parent": parent.name,
            "parent_digest": self.config.parent_digest,
            "finetune_mode": self.config.mode,
            "finetune_data": f"{data} ({self.statistics.n_structures} structures)",
            "atom_energies_refitted": "yes" if self.config.refit_atom_energies else "no",
        }
        if self.config.member is not None:
            extra["ensemble_member"] = str(self.config.member)
        for name in ("phonons", "replay"):
            if (section := getattr(self.config, name)) is not None:
                extra[f"finetune_{name}"] = ", ".join(Path(path).name for path in section.train)
        return dataclasses.replace(provenance, source="fine-tuned with nequix", extra=extra)


def require_best(folder: Path) -> None:
    """Reject to resume without the best model so far, which becomes the result.

    Args:
        folder: The run directory.

    Raises:
        DataError: If it is missing.
    """
    path = folder / BEST
    if not path.is_file():
        raise DataError(
            f"{path}: missing, though the run has validated; put the file back, because the best model "
            "so far is in no checkpoint, or fine-tune again in another folder"
        )


def finished(config: FinetuneConfig, folder: Path) -> bool:
    """Return whether a run is complete in a folder and its data have not changed since.

    Args:
        config: The configuration.
        folder: The folder.
    """
    path = folder / CONFIG
    if not (folder / MODEL).is_file() or not path.is_file():
        return False
    sections = {"phonons": config.phonons, "replay": config.replay}
    others = {name: section.train for name, section in sections.items() if section is not None}
    same = same_run(path.read_text(), config)
    return same and untouched(config, folder, others)
