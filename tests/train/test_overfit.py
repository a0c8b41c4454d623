"""Ten structures are learned by heart."""

import json

from nequix.train.config import read_config
from nequix.train.opening import open_run
from tests.train.emt import write_config

LEARNED = 1e-3
"""eV per atom, and 20 meV/A for the forces: what ten structures must come to."""


def test_ten_structures_are_learned_to_a_mev_per_atom(tmp_path):
    path = write_config(
        tmp_path, 10, epochs=800, rate=0.03, valid_fraction=0, ema_decay=0.9, more="log: {figures: false}"
    )
    text = path.read_text().replace("batch_size: 8", "batch_size: 10").replace("packs: 4", "packs: 1")
    path.write_text(text.replace("8x0e + 4x1o", "16x0e + 8x1o").replace("every: 5", "every: 1000"))
    run = open_run(read_config(path), tmp_path / "run")
    assert run.train()
    errors = run.errors(run.loader)
    assert errors["energy"] < LEARNED, json.dumps(errors)
    assert errors["forces"] < 20 * LEARNED, json.dumps(errors)
