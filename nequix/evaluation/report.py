"""Reports: ``report.md`` with figures for people, ``results.json`` with all numbers for programs."""

from __future__ import annotations

import io
import json
import platform
import warnings
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nequix import __version__
from nequix.io.files import write_atomic
from nequix.io.provenance import package_versions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

REPORT, RESULTS = "report.md", "results.json"
PACKAGES = (
    "numpy",
    "ase",
    "vesin",
    "jax",
    "torch",
    "phonopy",
    "phono3py",
    "phonors",
    "pymatgen",
    "spglib",
    "symfc",
)


class Report:
    """A Markdown report that is assembled piece by piece.

    Args:
        folder: Folder for the report and its figures.
        title: Its heading.
    """

    def __init__(self, folder: Path, title: str) -> None:
        self.folder = folder
        self._parts = [f"# {title}"]

    def heading(self, text: str) -> None:
        """Add a heading."""
        self._parts.append(f"## {text}")

    def text(self, text: str) -> None:
        """Add a paragraph of Markdown."""
        self._parts.append(text)

    def table(self, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Add a table; floats are shown with four significant digits, None as a dash.

        Args:
            header: Names of the columns.
            rows: Cells.
        """
        lines = [" | ".join(header), " | ".join("---" for _ in header)]
        lines += [" | ".join(map(_cell, row)) for row in rows]
        self._parts.append("\n".join(f"| {line} |" for line in lines))

    def figure(self, name: str, caption: str, figure: Figure) -> None:
        """Add a figure, written as PNG.

        Args:
            name: File name without ending.
            caption: Caption of the figure.
            figure: The figure.
        """
        content = io.BytesIO()
        with warnings.catch_warnings():  # on a busy machine Matplotlib warns that it takes more than a second
            warnings.filterwarnings("ignore", "Creating legend with loc", UserWarning)
            figure.savefig(content, format="png", dpi=120, bbox_inches="tight")
        write_atomic(self.folder / f"{name}.png", [content.getvalue()])
        self._parts.append(f"![{caption}]({name}.png)\n\n{caption}")

    def markdown(self) -> str:
        """Return the page so far."""
        return "\n\n".join(self._parts)

    def write(self, identity: dict[str, Any], results: dict[str, Any]) -> None:
        """Write both files.

        Args:
            identity: Argument of :meth:`nequix.evaluation.run_directory.RunDirectory.begin`.
            results: The numbers, for JSON.
        """
        made_with = {"nequix": __version__, "python": platform.python_version(), **package_versions(PACKAGES)}
        engine = identity["engine"]
        self.heading("How this was made")
        model = engine["model"]
        rows = [("model", model["name"]), ("file, SHA-256", model.get("file_sha256"))]
        rows.append(("parameters, SHA-256", model["checksum"]))
        rows += [(name, engine[name]) for name in ("backend", "kernel", "dtype", "device")]
        rows += [(name, json.dumps(value)) for name, value in identity["settings"].items()]
        self.table(("", ""), [*rows, *made_with.items()])
        held = {"made": datetime.now(UTC).isoformat(timespec="seconds"), "versions": made_with}
        text = json.dumps({**held, **identity, "results": results}, indent=1, allow_nan=False)
        write_atomic(self.folder / RESULTS, [text.encode() + b"\n"])
        write_atomic(self.folder / REPORT, [self.markdown().encode() + b"\n"])


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
