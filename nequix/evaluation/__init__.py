"""Evaluations of a model against references: resumable runs over named items, and reports of them.

An evaluation is a :class:`~nequix.evaluation.task.Task`: it names its items and evaluates one of them.
Everything else is shared: :mod:`~nequix.evaluation.run_directory` keeps the result of each item in its own
file, :mod:`~nequix.evaluation.run` works through the items in several processes, and
:mod:`~nequix.evaluation.report` writes the report.
"""
