"""A double of OpenEquivariance for machines without a GPU: as strict about calls, and as right, but slow.

Names, signatures, shapes, integer types and normalisations are those of OpenEquivariance 0.5 and 0.6.
The sums come from e3nn's 3j tensors, one term of the formula after the other.
"""

from __future__ import annotations

import importlib.machinery
import math
import sys
import types
from dataclasses import dataclass, field
from typing import Any

import e3nn.o3
import jax.numpy as jnp
import numpy as np
import torch

PARITY = {"e": 1, "o": -1}


@dataclass
class Log:
    """What the double was asked for.

    Attributes:
        problems: Every product that was described.
        forwards: Numbers of edges of every call.
    """

    problems: list[TPProblem] = field(default_factory=list)
    forwards: list[int] = field(default_factory=list)


class Refused(Exception):
    """A call that the original would refuse, or answer with something else than was meant."""


def require(condition: bool, what: Any) -> None:
    """Reject unless a condition holds."""
    if not condition:
        raise Refused(what)


def parse(irreps: str) -> list[tuple[int, int, int]]:
    """Read ``2x0e + 1x1o`` as multiplicities, degrees and parities."""
    require(isinstance(irreps, str), f"irreps {irreps!r} are not text")
    parts = [part.strip().split("x") for part in irreps.split("+")]
    return [(int(mul), int(irrep[:-1]), PARITY[irrep[-1]]) for mul, irrep in parts]


def size(irreps: list[tuple[int, int, int]]) -> int:
    """Count the numbers that irreps describe."""
    return sum(mul * (2 * l + 1) for mul, l, _ in irreps)


class TPProblem:
    """A described product: checked as the original checks it, and for what this project promises."""

    log: Log

    def __init__(
        self,
        irreps_in1,
        irreps_in2,
        irreps_out,
        instructions,
        in1_var=None,
        in2_var=None,
        out_var=None,
        irrep_normalization="component",
        path_normalization="element",
        internal_weights=False,
        shared_weights=None,
        label=None,
        irrep_dtype=np.float32,
        weight_dtype=np.float32,
    ):
        self.in1, self.in2, self.out = parse(irreps_in1), parse(irreps_in2), parse(irreps_out)
        require(in1_var is in2_var is out_var is None, "variances change the normalisation")
        require(irrep_normalization == "component", irrep_normalization)
        require(internal_weights is False, "internal weights are not supported")
        require(shared_weights is False, "every edge has weights of its own")
        require(irrep_dtype in (np.float32, np.float64), irrep_dtype)
        require(irrep_dtype is weight_dtype, "irreps and weights must have one precision")
        require(isinstance(instructions, list), "instructions must be a list")
        self.dtype, self.instructions = irrep_dtype, instructions
        self.factors = [self._check(path_normalization, *ins) for ins in instructions]
        self.weight_numel = sum(self.in1[ins[0]][0] for ins in instructions)
        for place, irreps in enumerate((self.in1, self.in2, self.out)):
            used = {ins[place] for ins in instructions}
            require(used == set(range(len(irreps))), f"irreps {irreps} are read only in part: {used}")
        self.log.problems.append(self)

    def _check(self, path_normalization, i, j, k, mode, has_weight):
        (mul1, l1, p1), (mul2, l2, p2), (mul3, l3, p3) = self.in1[i], self.in2[j], self.out[k]
        require(mode == "uvu" and has_weight is True, "all paths must be weighted and uvu")
        require(mul1 == mul3 and mul2 == 1, "uvu keeps the multiplicity of the first input")
        require(p1 * p2 == p3 and abs(l1 - l2) <= l3 <= l1 + l2, f"{l1} x {l2} -> {l3}")
        terms = sum(ins[2] == k for ins in self.instructions)
        require(terms == 1, "paths of one output would share their channels")
        return math.sqrt(
            (2 * l3 + 1) / {"none": 1, "element": terms * mul2, "path": terms * mul2}[path_normalization]
        )

    def tables(self):
        """Yield each path: slices of both inputs and of the weights, shape of the input, tensor."""
        starts1, starts2 = (
            np.cumsum([0, *(mul * (2 * l + 1) for mul, l, _ in x)]) for x in (self.in1, self.in2)
        )
        order = sorted(range(len(self.instructions)), key=lambda index: self.instructions[index][2])
        weights = np.cumsum([0, *(self.in1[ins[0]][0] for ins in self.instructions)])
        for index in order:
            i, j, k, *_ = self.instructions[index]
            (mul, l1, _), (_, l2, _), (_, l3, _) = self.in1[i], self.in2[j], self.out[k]
            tensor = e3nn.o3.wigner_3j(l1, l2, l3, dtype=torch.float64).numpy() * self.factors[index]
            weight = slice(weights[index], weights[index + 1])
            first, second = slice(starts1[i], starts1[i + 1]), slice(starts2[j], starts2[j + 1])
            yield first, second, weight, (mul, 2 * l1 + 1), tensor


def check_call(problem, arrays, indices, dtypes, index_dtype):
    """Check what the original checks before it launches, and that indices are in range."""
    rows, cols = indices
    n_edges = len(rows)
    shapes = [
        (arrays[0].shape[0], size(problem.in1)),
        (n_edges, size(problem.in2)),
        (n_edges, problem.weight_numel),
    ]
    for name, array, shape in zip("XYW", arrays, shapes, strict=True):
        require(tuple(array.shape) == shape, f"{name} has shape {tuple(array.shape)}, expected {shape}")
        require(array.dtype == dtypes[problem.dtype], f"{name} is {array.dtype}, not {problem.dtype}")
    for name, array in (("rows", rows), ("cols", cols)):
        require(tuple(array.shape) == (n_edges,), f"{name} has shape {tuple(array.shape)}")
        require(array.dtype == index_dtype, f"{name} is {array.dtype}, not {index_dtype}")
    problem.log.forwards.append(n_edges)


class TorchConv(torch.nn.Module):
    """``openequivariance.TensorProductConv``."""

    def __init__(self, problem, *, deterministic=False, kahan=False, torch_op=True, use_opaque=False):
        super().__init__()
        require(isinstance(problem, TPProblem) and torch_op and not (kahan or use_opaque), "options")
        require(not deterministic, "a deterministic sum wants sorted edges and sender_perm")
        self.problem = problem

    def forward(self, X, Y, W, rows, cols, sender_perm=None):
        """Sum into rows what comes from columns."""
        dtypes = {np.float32: torch.float32, np.float64: torch.float64}
        check_call(self.problem, (X, Y, W), (rows, cols), dtypes, torch.int64)
        messages = []
        for first, second, weight, shape, tensor in self.problem.tables():
            x, table = X[cols][:, first].reshape(-1, *shape), torch.tensor(tensor, dtype=X.dtype)
            path = torch.einsum("eu,eui,ej,ijk->euk", W[:, weight], x, Y[:, second], table)
            messages.append(path.flatten(1))
        messages = torch.cat(messages, 1)
        return X.new_zeros(len(X), messages.shape[1]).index_add(0, rows, messages)


class JaxConv:
    """``openequivariance.jax.TensorProductConv``."""

    def __init__(self, config, deterministic=False, kahan=False, requires_jvp=True):
        require(isinstance(config, TPProblem) and requires_jvp and not kahan, "options")
        require(not deterministic, "a deterministic sum wants sorted edges and sender_perm")
        self.problem = config
        self.workspace = jnp.zeros((1,), jnp.uint8)

    def forward(self, X, Y, W, rows, cols, sender_perm=None):
        """Sum into rows what comes from columns."""
        dtypes = {np.float32: np.float32, np.float64: np.float64}
        check_call(self.problem, (X, Y, W), (rows, cols), dtypes, np.int32)
        messages = []
        for first, second, weight, shape, tensor in self.problem.tables():
            x, table = X[cols][:, first].reshape(-1, *shape), jnp.asarray(tensor, X.dtype)
            path = jnp.einsum("eu,eui,ej,ijk->euk", W[:, weight], x, Y[:, second], table)
            messages.append(path.reshape(len(path), shape[0] * tensor.shape[2]))
        messages = jnp.concatenate(messages, 1) + self.workspace[0].astype(X.dtype)
        return jnp.zeros((len(X), messages.shape[1]), X.dtype).at[rows].add(messages)


def install(monkeypatch) -> Log:
    """Put the double into ``sys.modules``.

    Returns:
        Its notes, made again.
    """
    log = Log()
    problem = type("TPProblem", (TPProblem,), {"log": log})
    package, binding = types.ModuleType("openequivariance"), types.ModuleType("openequivariance.jax")
    package.__dict__.update(TPProblem=problem, TensorProductConv=TorchConv, jax=binding, __path__=[])
    binding.__dict__.update(TensorProductConv=JaxConv)
    for module in (package, binding):
        module.__spec__ = importlib.machinery.ModuleSpec(module.__name__, None)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return log
