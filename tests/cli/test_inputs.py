"""Missing files are noticed before a model is loaded."""

import pytest

COMMANDS = {
    "predict": ("predict", "MISSING", "-o", "out.extxyz"),
    "relax": ("relax", "MISSING"),
    "select": ("select", "MISSING", "-o", "out.extxyz", "-n", "2"),
    "assess": ("assess", "MISSING", "-o", "out"),
    "assess --dft": ("assess", "here.extxyz", "--dft", "MISSING", "-o", "out"),
    "coverage": ("coverage", "MISSING"),
    "coverage --also": ("coverage", "here.extxyz", "--also", "MISSING"),
    "coverage build": ("coverage", "build", "MISSING"),
    "finetune": ("finetune", "MISSING", "-o", "out"),
    "finetune --valid": ("finetune", "here.extxyz", "--valid", "MISSING", "-o", "out"),
    "finetune --config": ("finetune", "here.extxyz", "--config", "MISSING", "-o", "out"),
    "data check": ("data", "check", "MISSING", "--model", "absent.safetensors"),
    "data stats": ("data", "stats", "MISSING"),
    "evaluate errors": ("evaluate", "errors", "MISSING", "-o", "out"),
    "evaluate discovery": ("evaluate", "discovery", "MISSING", "-o", "out"),
    "evaluate kappa": ("evaluate", "kappa", "--data", "MISSING", "-o", "out"),
    "evaluate physics": ("evaluate", "physics", "--data", "MISSING", "-o", "out"),
    "evaluate phonons": ("evaluate", "phonons", "--data", "MISSING", "-o", "out"),
}


@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS)
def test_a_missing_file_is_noticed_before_a_model_is_loaded(run, tmp_path, monkeypatch, arguments):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.extxyz").write_text("1\n\nSi 0 0 0\n")
    for name in ("nequix.io.catalogue.load_weights", "nequix.backends.load_model"):
        monkeypatch.setattr(name, lambda *_, **__: pytest.fail("a model was loaded"))
    code, out, err = run(*(word.replace("MISSING", "hare.extxyz") for word in arguments))
    assert (code, out) == (1, "")
    assert "hare.extxyz: no such file" in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_file_of_a_similar_name_is_suggested(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "train.extxyz").touch()
    assert "did you mean 'train.extxyz'?" in run("predict", "trian.extxyz", "-o", "out.extxyz")[2]
