"""The report of each evaluation task: register a new one here."""

from __future__ import annotations

from typing import Any

from nequix.evaluation.run_directory import RunDirectory
from nequix.evaluation.task import Task


def write_report(task: Task, directory: RunDirectory, identity: dict[str, Any]) -> Any:
    """Write ``report.md`` and ``results.json`` of a run.

    Args:
        task: What was evaluated.
        directory: Its results.
        identity: What :meth:`nequix.evaluation.run_directory.RunDirectory.begin` was given.

    Returns:
        The summary; None for a task that has no report here.
    """
    write = _REPORTS.get(task.name)
    return None if write is None else write(task, directory, identity)


def _errors(task: Any, directory: RunDirectory, identity: dict[str, Any]) -> Any:
    from nequix.evaluation.errors.report import write_report

    return write_report(directory, task.items(), identity)


def _discovery(task: Any, directory: RunDirectory, identity: dict[str, Any]) -> Any:
    from nequix.evaluation.discovery.report import References, write_report

    return write_report([directory], task.items(), identity, References())


def _kappa(task: Any, directory: RunDirectory, identity: dict[str, Any]) -> Any:
    from nequix.evaluation.kappa.report import write_report

    return write_report(directory, task.items(), identity, task.folder)


def _phonons(task: Any, directory: RunDirectory, identity: dict[str, Any]) -> Any:
    from nequix.evaluation.phonons.report import write_report

    return write_report(directory, task.items(), identity)


def _physics(task: Any, directory: RunDirectory, identity: dict[str, Any]) -> Any:
    from nequix.evaluation.physics.report import write_report

    return write_report(directory, task, identity)


def _speed(task: Any, directory: RunDirectory, identity: dict[str, Any]) -> Any:
    from nequix.evaluation.speed.report import write_report

    return write_report(directory, task, identity)


_REPORTS = {
    "errors": _errors,
    "discovery": _discovery,
    "kappa": _kappa,
    "phonons": _phonons,
    "physics": _physics,
    "speed": _speed,
}
