"""Evaluations of a model against references: resumable runs over named items, and reports of them.

An evaluation is a :class:`~nequix.evaluate.task.Task`: it names its items and evaluates one of them.
Everything else is shared: :mod:`~nequix.evaluate.store` keeps each item's outcome in a file of its own,
:mod:`~nequix.evaluate.run` works through the items in several processes, and
:mod:`~nequix.evaluate.report` writes what a person reads.
"""
