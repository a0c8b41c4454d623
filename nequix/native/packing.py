"""A model's parameters in the layout of the compiled kernels: padded channels, constant factors included."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from nequix.core.irreps import label
from nequix.core.parameters import group
from nequix.core.paths import LayerPlan, plan
from nequix.core.spec import GATE_NORMALISATION, NORM_EPSILON, ModelSpec
from nequix.io.weights import Weights
from nequix.native.library import DEGREES, PAD, LayerStruct, PathStruct, SpecStruct
from nequix.native.radial import Tables, tabulate

if TYPE_CHECKING:
    from jaxtyping import Float, Int


def padded(n: int) -> int:
    """Round a number of channels up to whole vectors.

    Args:
        n: Channels.
    """
    return -(-n // PAD) * PAD


class Packed:
    """A model as ``nequix_spec``; keeps the arrays that it points to.

    Args:
        weights: The model.
        dtype: Precision of the tables.
        tables: The radial functions, if already tabulated.

    Attributes:
        struct: For ``nequix_create``.
        tables: The radial functions.

    Raises:
        SpecError: If the radial functions are too steep to be tabulated.
    """

    def __init__(self, weights: Weights, dtype: str, tables: Tables | None = None) -> None:
        spec = weights.spec
        arrays = {name: np.asarray(values, np.float64) for name, values in weights.parameters.items()}
        self._groups = group(spec, arrays)
        self._kept: list[Any] = []
        mlps = [
            [radial[str(index)] for index in range(spec.radial_mlp_layers + 1)]
            for radial in (self._groups[f"layers.{t}"]["radial"] for t in range(spec.n_layers))
        ]
        self.tables: Tables = tables or tabulate(mlps, spec, dtype)
        layers = (LayerStruct * spec.n_layers)()
        for t, layer in enumerate(plan(spec)):
            self._pack_layer(layers[t], layer, t, spec)
        self._kept.append(layers)
        scalars = spec.hidden[0]
        readout = _pad(self._groups["readout"]["0e"] * spec.scale / math.sqrt(scalars), 0)
        tables = self.tables
        self.struct: SpecStruct = SpecStruct(
            n_species=spec.n_species,
            lmax=spec.lmax,
            n_layers=spec.n_layers,
            n_cells=len(tables.cells),
            n_segments=len(tables.middles),
            degree=tables.coefficients[0].shape[-1] - 1,
            layer_norm=spec.layer_norm,
            cells=self._keep(tables.cells, ctypes.c_int32),
            middles=self._keep(tables.middles),
            halves=self._keep(tables.halves),
            cutoff=spec.cutoff,
            gate_scale=1 / GATE_NORMALISATION,
            epsilon=NORM_EPSILON,
            layers=layers,
            readout=self._keep(readout),
            offset=self._keep(spec.shift + arrays["atom_energies"]),
        )

    def _keep(self, array: np.ndarray, kind: type = ctypes.c_double) -> Any:
        array = np.ascontiguousarray(array)
        self._kept.append(array)
        return array.ctypes.data_as(ctypes.POINTER(kind))

    def _pack_layer(self, struct: LayerStruct, layer: LayerPlan, t: int, spec: ModelSpec) -> None:
        groups = self._groups[f"layers.{t}"]
        places = _Places(layer, one_hot=t == 0)
        for name in ("channels_in", "message", "pre", "out", "gate"):
            for l in range(DEGREES):
                getattr(struct, name)[l] = getattr(places, name)[l]
        # By sender's degree: the features that a tile reads stay in the cache.
        paths = (PathStruct * len(layer.paths))(*sorted(places.paths, key=lambda path: path.l1))
        self._kept.append(paths)
        struct.n_paths, struct.paths, struct.n_weights = len(layer.paths), paths, places.n_weights
        struct.table = self._keep(_spread(self.tables.coefficients[t], places.columns, places.n_weights, 1))
        for l in range(DEGREES):
            struct.norm[l] = 1 / (len(layer.outputs) * (2 * l + 1) ** 2)
        for name, packed in self._matrices(layer, places, groups, spec).items():
            for l, matrix in packed.items():
                getattr(struct, name)[l] = self._keep(matrix)

    def _matrices(
        self, layer: LayerPlan, places: _Places, groups: Mapping[str, Any], spec: ModelSpec
    ) -> dict[str, dict[int, np.ndarray]]:
        """Return the matrices and gains of a layer, by name and degree."""
        inputs, messages, pre = dict(layer.inputs), dict(layer.messages), dict(layer.preactivation)
        one_hot = places.one_hot  # the first layer's rows are species: not padded
        packed: dict[str, dict[int, np.ndarray]] = {"linear_1": {}, "linear_2": {}, "skip": {}, "gain": {}}
        for l, n in inputs.items():
            matrix = _pad(groups["linear_1"][label(l)] / math.sqrt(n), 1)
            packed["linear_1"][l] = matrix if one_hot else _pad(matrix, 0)
        for l in pre:
            out = places.rows(l)
            if l in messages:
                factor = math.sqrt(messages[l] * spec.avg_n_neighbors)
                matrix = _spread(
                    groups["linear_2"][label(l)] / factor, places.message_rows[l], places.message[l], 0
                )
                packed["linear_2"][l] = _spread(matrix, out, places.pre[l], 1)
            if l in inputs:
                matrix = _spread(groups["skip"][label(l)] / math.sqrt(inputs[l]), out, places.pre[l], 1)
                packed["skip"][l] = matrix if one_hot else _pad(matrix, 0)
            if spec.layer_norm:
                packed["gain"][l] = _spread(groups["norm"][label(l)], out, places.pre[l], 0)
        return packed


class _Places:
    """Positions of channels, weights and gates of a layer after padding."""

    def __init__(self, layer: LayerPlan, one_hot: bool) -> None:
        inputs, self._outputs = dict(layer.inputs), dict(layer.outputs)
        self.one_hot = one_hot
        self.channels_in = [padded(inputs.get(l, 0)) for l in range(DEGREES)]
        self.out = [padded(self._outputs.get(l, 0)) for l in range(DEGREES)]
        self.message = [0] * DEGREES
        self.message_rows: dict[int, np.ndarray] = {}
        self.paths, columns, self.n_weights = [], [], 0
        for path in layer.paths:
            width = self.channels_in[path.l1]
            start = self.message[path.l3]
            self.paths.append(PathStruct(path.l1, path.l2, path.l3, width, self.n_weights, start))
            columns.append(self.n_weights + np.arange(path.mul))
            rows = self.message_rows.get(path.l3, np.zeros(0, int))
            self.message_rows[path.l3] = np.append(rows, start + np.arange(path.mul))
            self.message[path.l3] += width
            self.n_weights += width
        self.columns: Int[np.ndarray, " n_weights"] = np.concatenate(columns)
        gates = [self.out[0]]
        for l in range(1, DEGREES):
            gates.append(gates[-1] + self.out[l])
        self.gate = [0, *gates[:-1]]
        self.pre = [gates[-1], *self.out[1:]]

    def rows(self, l: int) -> Int[np.ndarray, " n"]:
        """Return the positions of the channels of a degree before the activation."""
        if l:
            return np.arange(self._outputs[l])
        gates = [self.gate[k] + np.arange(n) for k, n in self._outputs.items() if k]
        return np.concatenate([np.arange(self._outputs[0]), *gates])


def _spread(array: Float[np.ndarray, ...], places: Int[np.ndarray, " n"], size: int, axis: int) -> np.ndarray:
    """Scatter rows or columns to their positions among zeros."""
    shape = list(array.shape)
    shape[axis] = size
    spread = np.zeros(shape)
    index: list[Any] = [slice(None)] * array.ndim
    index[axis] = places
    spread[tuple(index)] = array
    return spread


def _pad(array: Float[np.ndarray, ...], axis: int) -> np.ndarray:
    return _spread(array, np.arange(array.shape[axis]), padded(array.shape[axis]), axis)
