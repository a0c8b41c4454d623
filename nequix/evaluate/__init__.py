"""Evaluations of a model against references: resumable runs over named items, and reports of them.

An evaluation is a :class:`~nequix.evaluate.task.Task`: it names its items and evaluates one of them.
Everything else is shared: :mod:`~nequix.evaluate.run_directory` keeps the result of each item in its own
file, :mod:`~nequix.evaluate.run` works through the items in several processes, and
:mod:`~nequix.evaluate.report` writes what a person reads.
"""
