import json
import os
import sys

import numpy as np
import pytest

import nequix.torch.convolution as convolution
import nequix.torch.e3nn_kernel as e3nn_kernel
import nequix.torch.kernels as kernels
import nequix.torch.potential as potential
from nequix import cli, load_weights
from nequix.core import irreps
from nequix.graphs.graph import GraphError
from nequix.native.model import NativeModel
from nequix.potential import Potential
from nequix.verify import certify, random_model
from nequix.verify.structures import join, structures
from nequix.verify.tolerances import TOLERANCES
from tests.calculator import small
from tests.calculator.small import BACKENDS, ENGINES, SPEC, WEIGHTS


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NEQUIX_CACHE", str(tmp_path / "cache"))
    small.write_small(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["nequix", "verify", *arguments])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        output = capsys.readouterr()
        return caught.value.code, output.out, output.err

    return run


def test_the_model_that_comes_with_nequix_passes():
    assert certify(load_weights("nequix-nano"), ["torch"]).passed


def failures(certificate):
    """The names of the failed checks, by configuration."""
    return {
        configuration.name: {check.name for check in configuration.checks if not check.passed}
        for configuration in certificate.configurations
        if not configuration.passed
    }


def test_sound_engines_pass_and_the_certificate_tells_all(run, tmp_path):
    code, out, err = run("--model", "model.safetensors", "--json", "certificate.json")
    assert code == 0, out + err
    certificate = json.loads((tmp_path / "certificate.json").read_text())
    assert certificate["passed"]
    assert certificate["parity_between_backends_checked"]
    assert certificate["reference"] == "jax plain float64"
    assert certificate["model"]["name"] == "small"
    assert certificate["model"]["spec"]["cutoff"] == SPEC.cutoff
    assert len(certificate["model"]["checksum"]) == len(certificate["model"]["file_sha256"]) == 64
    assert certificate["packages"]["numpy"] == np.__version__
    made = {(c["backend"], c["kernel"], c["dtype"]): c for c in certificate["configurations"]}
    assert {(b, k, d) for b in ENGINES for k in ("plain", "e3nn") for d in ("float64", "float32")} <= set(
        made
    )
    for key, configuration in made.items():
        assert min(configuration["calls"].values()) >= 1
        expected = {name for name, t in TOLERANCES.items() if getattr(t, key[2]) is not None}
        if key[1:] != ("plain", "float64"):
            expected = {name for name in expected if not name.startswith("FD")}
        if key == ("jax", "plain", "float64"):
            expected -= {"energies", "forces", "stress"}
        delegated = key[0] == "jax" or key[1] == "native"
        assert ("Hessian products" in configuration["seconds"]) != delegated
        if delegated:
            expected -= {"Hessian", "FD Hessian"}
        elif key == ("torch", "plain", "float64"):
            expected -= {"Hessian"}  # the others' are compared with it
        assert {check["name"] for check in configuration["checks"]} == expected
        assert set(configuration["left_out"]) <= {"Hessian", "FD Hessian"}
        assert bool(configuration["left_out"]) == delegated
    assert not certificate["thorough"]
    assert "all checks passed" in out.splitlines()[0]
    assert "; --thorough checks them" in out
    assert max(map(len, out.splitlines())) <= 80
    assert "…" not in out
    assert sum(line.startswith(BACKENDS) for line in out.splitlines()) == len(made)
    assert "NOT" not in out
    assert "torch e3nn float32" in err


def test_one_engine_is_checked_and_parity_is_said_to_be_unchecked(run):
    code, out, _ = run("--model", "model.safetensors", "--backends", "torch", "--thorough")
    assert code == 0
    assert "left out" not in out
    assert "parity between engines was NOT checked" in out


def test_a_certificate_is_replaced_only_by_force(run, tmp_path):
    (tmp_path / "certificate.json").write_text("precious")
    code, _, err = run("--model", "model.safetensors", "--json", "certificate.json")
    assert (code, "--force" in err) == (1, True)
    assert (tmp_path / "certificate.json").read_text() == "precious"


def test_by_default_a_certificate_is_written_and_replaces_only_another_one(run, tmp_path):
    arguments = ("--model", "model.safetensors", "--backends", "torch")
    default = tmp_path / "nequix-verify.json"
    made = []
    for _ in range(2):
        code, out, _ = run(*arguments)
        assert (code, out.splitlines()[-1]) == (0, "certificate: nequix-verify.json")
        made.append(json.loads(default.read_text()))
        default.write_text(json.dumps({**made[-1], "made": "long ago"}))
    assert made[1]["made"] != "long ago"
    code, _, err = run(*arguments, "--json", "nequix-verify.json")  # a name that is given is kept
    assert (code, "--force" in err) == (1, True)
    default.write_text('{"passed": true}')
    code, _, err = run(*arguments)
    assert (code, "--force" in err, default.read_text()) == (1, True, '{"passed": true}')


@pytest.mark.parametrize(
    ("target", "says"),
    [("absent/certificate.json", "there is no folder"), (".", "a folder, not a file"), ("pipe", "a pipe")],
)
def test_a_bad_place_for_the_certificate_is_refused_before_any_work(run, tmp_path, monkeypatch, target, says):
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setattr("nequix.verify.certify", lambda *_: pytest.fail("it worked already"))
    code, out, err = run("--model", "absent.safetensors", "--json", target, "--force")
    assert (code, out) == (1, "")
    assert says in err
    assert "--json" in err


def test_weights_out_of_reach_are_an_error_with_the_way_on(run, tmp_path, monkeypatch):
    monkeypatch.setenv("NEQUIX_MIRROR", str(tmp_path / "absent"))
    code, out, err = run()
    assert (code, out) == (1, "")
    assert "NEQUIX_MIRROR" in err
    assert "--model random" in err


def test_an_unknown_backend_is_a_usage_error(run):
    code, _, err = run("--backends", "torch,tensorflow")
    assert code == 2
    assert "tensorflow" in err


def test_a_failure_is_named_and_gives_a_bad_exit_code(run, monkeypatch, tmp_path):
    _scale(monkeypatch, e3nn_kernel.E3nnKernel, 1 + 1e-7)
    code, out, _ = run("--model", "model.safetensors", "--backends", "torch", "--json", "bad.json")
    assert code == 1
    assert "FAILED torch e3nn float64: forces: error" in out
    assert "NOT all checks passed" in out
    assert not json.loads((tmp_path / "bad.json").read_text())["passed"]


def _scale(monkeypatch, kernel, factor):
    right = kernel._convolve

    def wrong(self, plan, features, weights, *rest):
        return {l: block * factor for l, block in right(self, plan, features, weights, *rest).items()}

    monkeypatch.setattr(kernel, "_convolve", wrong)


def test_a_slightly_wrong_kernel_fails_even_without_another_engine(monkeypatch):
    # It is rotated rightly and its forces are its energy's: only the equations tell.
    _scale(monkeypatch, convolution.PlainKernel, 1 + 1e-7)
    failed = failures(certify(WEIGHTS, ["torch"]))
    assert "equations" in failed["torch plain float64"]
    assert "torch e3nn float64" in failed  # which is right, but not as the reference says


def test_a_kernel_that_is_wrong_in_single_precision_only_fails(monkeypatch):
    right = e3nn_kernel.E3nnKernel._convolve

    def wrong(self, plan, features, *rest):
        made = right(self, plan, features, *rest)
        factor = 1 + 2e-3 * (features[0].element_size() == 4)
        return {l: block * factor for l, block in made.items()}

    monkeypatch.setattr(e3nn_kernel.E3nnKernel, "_convolve", wrong)
    assert set(failures(certify(WEIGHTS, ["torch"]))) == {"torch e3nn float32"}


def test_a_kernel_that_never_runs_fails_though_all_numbers_are_right(monkeypatch):
    def borrowed(self, *arguments):
        return convolution.PlainKernel()._convolve(*arguments)

    monkeypatch.setattr(e3nn_kernel.E3nnKernel, "convolve", borrowed)
    certificate = certify(WEIGHTS, ["torch"])
    assert failures(certificate) == {"torch e3nn float64": set(), "torch e3nn float32": set()}
    assert "never ran in: evaluate, Hessian products" in certificate.configurations[4].failures[0]


def test_a_native_kernel_that_never_runs_fails_though_all_numbers_are_right(monkeypatch):
    monkeypatch.setattr(Potential, "native", None)
    certificate = certify(WEIGHTS, ["torch"])
    assert failures(certificate) == {"torch native float64": set(), "torch native float32": set()}
    assert "never ran in: evaluate" in certificate.configurations[2].failures[0]


def test_wrong_forces_of_the_native_kernel_fail(monkeypatch):
    right = NativeModel.evaluate_graph

    def wrong(self, graph, threads=None):
        energies, forces, virials = right(self, graph, threads)
        return energies, forces * (1 + 1e-4), virials

    monkeypatch.setattr(NativeModel, "evaluate_graph", wrong)
    failed = failures(certify(WEIGHTS, ["torch"]))
    assert failed == {"torch native float64": {"forces"}, "torch native float32": {"forces"}}


def test_another_kernel_than_the_one_asked_for_fails(monkeypatch):
    monkeypatch.setattr(kernels.TABLE, "bound", lambda *given: convolution.PlainKernel())
    certificate = certify(WEIGHTS, ["torch"])
    wrong = {f"torch {kernel} {dtype}" for kernel in ("native", "e3nn") for dtype in ("float64", "float32")}
    assert set(failures(certificate)) == wrong
    assert certificate.configurations[4].failures == ["the kernel 'plain' was chosen instead"]


def test_wrong_forces_of_a_right_energy_fail(monkeypatch):
    right = potential.forces_from_gradient
    monkeypatch.setattr(potential, "forces_from_gradient", lambda *a: right(*a) * (1 + 1e-4))
    assert {"FD forces", "FD Hessian"} & failures(certify(WEIGHTS, ["torch"]))["torch plain float64"]


def test_wrong_stress_of_a_right_energy_fails(monkeypatch):
    right = potential.virial_from_gradient
    monkeypatch.setattr(potential, "virial_from_gradient", lambda *a: right(*a) * (1 + 1e-4))
    assert failures(certify(WEIGHTS, ["torch"]))["torch plain float64"] == {"FD stress"}


def test_a_kernel_that_knows_directions_fails(monkeypatch):
    right = convolution.PlainKernel._convolve

    def wrong(self, *arguments):
        made = right(self, *arguments)
        made[0] = made[0] + 1e-4 * made[1][:, :1, :1] if 1 in made else made[0]
        return made

    monkeypatch.setattr(convolution.PlainKernel, "_convolve", wrong)
    assert {"rotation", "reflection"} <= failures(certify(WEIGHTS, ["torch"]))["torch plain float64"]


def test_numbers_that_are_none_and_errors_are_failures(monkeypatch):
    _scale(monkeypatch, convolution.PlainKernel, float("nan"))

    def broken(self, *arguments):
        raise GraphError("planted")

    monkeypatch.setattr(e3nn_kernel.E3nnKernel, "_convolve", broken)
    certificate = certify(WEIGHTS, ["torch"])
    assert len(failures(certificate)) == len(certificate.configurations)
    assert certificate.configurations[4].failures == ["GraphError: planted"]
    json.dumps(certificate.to_dict(), allow_nan=False)


def test_the_structures_are_of_every_kind_and_nothing_is_symmetric():
    members = structures(random_model().spec)
    graph = join(members, random_model().spec)
    assert {tuple(member.pbc.tolist()) for member in members} >= {(True, True, False), (True, False, False)}
    assert any(np.linalg.det(member.cell) < 0 for member in members)
    assert graph.n_node.min() == 1
    assert graph.n_edge.min() == 0
    assert len(graph.n_node) == len(members)
    lengths = np.linalg.norm(graph.vectors, axis=1)
    assert lengths.min() > 0.9
    assert len({number for member in members for number in member.numbers.tolist()}) > 15


def test_a_model_of_few_elements_can_be_verified():
    members = structures(SPEC)
    assert {number for member in members for number in member.numbers.tolist()} <= set(SPEC.atomic_numbers)


def test_the_random_model_has_the_published_shape():
    spec = random_model().spec
    assert spec.hidden_irreps == irreps.format(irreps.parse("128x0e + 64x1o + 32x2e + 32x3o"))
    assert (spec.n_layers, spec.n_species) == (4, 89)
