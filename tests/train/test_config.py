"""Configurations: the shipped ones are read, and a mistake is named with its line."""

from pathlib import Path

import pytest

from nequix.core.errors import DataError
from nequix.core.parameters import count
from nequix.finetune.config import configure
from nequix.io.catalogue import load_weights
from nequix.train.config import read_config

CONFIGS = Path(__file__).parents[2] / "configs"
OVERLAYS = tuple(
    CONFIGS / f"{name}.yml"
    for name in ("finetune", "nequix-nano-further", "nequix-nano-packed", "nequix-nano-whole")
)
OF_TRAINING = sorted({*CONFIGS.glob("*.yml")} - {*OVERLAYS})


@pytest.mark.parametrize("path", OF_TRAINING, ids=lambda path: path.stem)
def test_shipped_configurations_are_read(path):
    assert read_config(path).run.epochs > 0


@pytest.mark.parametrize("path", OVERLAYS, ids=lambda path: path.stem)
def test_shipped_configurations_of_fine_tunings_are_read(path):
    assert configure(load_weights("nequix-nano"), "nequix-nano", "full", ["data"], path=path).run.epochs > 0


def test_the_paper_s_configuration_has_the_published_size():
    numbers = (*range(1, 84), *range(89, 95))
    assert count(read_config(CONFIGS / "nequix-mp-1.yml").model.spec(numbers, 57.4, 0.8, 0.2)) == 707_569


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("  cutoff: 5.0", "  cutof: 5.0", r"line 4: unknown key 'cutof'; did you mean 'cutoff'"),
        ("  cutoff: 5.0", "  cutoff: five", r"line 4: cutoff = 'five', expected float"),
        ("  epochs: 50", "  epochs: 5.5", r"epochs = 5.5, expected int"),
        ("  epochs: 50\n", "", r"the keys \['epochs'\] are missing"),
        ("  epochs: 50", "  epochs: 50\n  epochs: 60", "the key 'epochs' appears twice"),
        (
            "  name: muon",
            "  name: adam",
            r"line \d+: name = 'adam', expected one of muon, adamw; did you mean 'adamw'",
        ),
        ("  dtype: float32", "  dtype: float23", r"dtype = 'float23', .*; did you mean 'float32'"),
        ("  epochs: 50", "  epochs: 0", r"epochs = 0, expected int from 1 on"),
        ("  learning_rate: 0.01", "  learning_rate: .nan", r"learning_rate = nan, expected float above 0"),
        (
            "  valid_fraction: 0.1",
            "  valid_fraction: 1",
            r"valid_fraction = 1, expected float from 0 on and below 1",
        ),
        ("  cutoff: 5.0", "  cutoff: -4.0", r"line 4: cutoff = -4.0, expected float above 0"),
        ("  n_layers: 2", "  n_layers: 0", r"line 7: n_layers = 0, expected int from 1 on"),
        ("  lmax: 2", "  lmax: -1", r"line 6: lmax = -1, expected int from 0 on"),
        ("  lmax: 2", "  lmax: 9", r"line 6: lmax = 9 must be an integer from 0 to 8"),
        ("32x0e + 16x1o + 8x2e", "8x0e + 4x1q", r"line 5: irreps '8x0e \+ 4x1q': cannot read '4x1q'"),
        ("32x0e + 16x1o + 8x2e", "4x1o", r"line 5: hidden_irreps = '4x1o' has no 0e"),
        (
            "_polynomial_p: 6.0",
            "_polynomial_p: 1.5",
            r"line 11: radial_polynomial_p = 1.5 must be from 2 to 100",
        ),
        ("  layer_norm: true", "  layer_norm: true\n  atomic_numbers: []", r"line 13: .* must be non-empty"),
        ("  kernel: auto", "  kernel: natve", r"line 33: kernel = 'natve', .*; did you mean 'native'"),
        (
            "  energy: 20\n  forces: 20\n  stress: 5",
            "  energy: 0\n  forces: 0\n  stress: 0",
            r"line 19: no weight",
        ),
        (
            "  layer_norm: true",
            "  layer_norm: true\n  atomic_numbers: [Si, si]",
            r"line 13: atomic_numbers\[1\] = 'si', .*; did you mean 'Si'",
        ),
        (
            "  layer_norm: true",
            "  layer_norm: true\n  atomic_numbers: [Si, 119]",
            r"atomic_numbers\[1\] = 119, .* from 1 to 118",
        ),
        (
            "  layer_norm: true",
            "  layer_norm: true\n  atomic_numbers: [No]",
            r"atomic_numbers\[0\] = False, .*; nobelium needs quotes",
        ),
        (
            "  layer_norm: true",
            "  layer_norm: true\n  atom_energies: {Si: -1, Xq: 2}",
            r"a key of atom_energies = 'Xq', expected a chemical symbol",
        ),
        (
            "  layer_norm: true",
            "  layer_norm: true\n  atom_energies: {Si: -1 eV}",
            r"atom_energies\[Si\] = '-1 eV', expected float",
        ),
        (
            "  layer_norm: true",
            "  layer_norm: true\n  atom_energies: {Si: .nan}",
            r"atom_energies\[Si\] = nan, expected float that is finite",
        ),
        (
            "  layer_norm: true",
            "  layer_norm: true\n  atom_energies: {Si: -1, 14: -2}",
            r"atom_energies: a key appears twice",
        ),
        (
            "  layer_norm: true",
            "  layer_norm: true\n  atom_energies: [-1]",
            r"atom_energies = \[-1\], expected keys \(a chemical symbol",
        ),
        (
            "  learning_rate: 0.01",
            "  learning_rate: -1e-3",
            r"learning_rate = '-1e-3', expected float above 0",
        ),
        ("  learning_rate: 0.01", "  learning_rate: !torch 1", r"line 24: the tag '!torch' is not read"),
        (
            "  energy: 20",
            "  hessian: 9\n  energy: 20",
            "loss.hessian needs `nequix finetune --phonons`; remove",
        ),
        ("model:", "model: 3\nmodle:", "expected keys and values|unknown key"),
        ("model:", "model: [", "cannot be read as YAML"),
        (
            "  energy: 20",
            "\tenergy: 20",
            r"line 19: cannot be read as YAML: .*indent with spaces, not with tabs$",
        ),
        ("data:", "---\ndata:", r"line 13: a second document begins"),
    ],
)
def test_a_mistake_is_named_with_its_line(tmp_path, old, new, message):
    text = (CONFIGS / "quickstart.yml").read_text()
    assert old in text
    path = tmp_path / "wrong.yml"
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(DataError, match=message) as caught:
        read_config(path)
    assert "\n" not in str(caught.value)


def test_a_configuration_that_is_not_a_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"absent\.yml: no such file"):
        read_config(tmp_path / "absent.yml")
    with pytest.raises(DataError, match=r"a folder, not a file"):
        read_config(tmp_path)


def test_numbers_without_a_point_and_symbols_are_read(tmp_path):
    text = (CONFIGS / "quickstart.yml").read_text()
    text = text.replace("learning_rate: 0.01", "learning_rate: 1e-3")
    more = "  atomic_numbers: [Si, 8]\n  atom_energies: {Si: -5.4, 8: -1e0}\ndata:"
    path = tmp_path / "config.yml"
    path.write_text(text.replace("data:", more, 1))
    config = read_config(path)
    assert config.optimizer.learning_rate == 0.001
    assert config.model.atomic_numbers == [8, 14]
    assert config.model.atom_energies == {14: -5.4, 8: -1.0}
