"""Where the engines may differ, and why."""

from pathlib import Path

ENGINES = {name: Path(__file__).parents[2] / "nequix" / name for name in ("jax", "torch")}

ONLY_FILES = {
    "compilation.py": "jax",  # PyTorch compiles nothing that could be kept
}
ONLY_NAMES = {
    ("ensemble.py", "EnsemblePotential.__init__"): "jax",  # it maps one program over the members' parameters
    ("ops.py", "rematerialise"): "torch",  # JAX has its own, torch.utils.checkpoint has no second derivatives
}
DIFFERING_VALUES = {
    # Measured: three times quicker in chunks in JAX, a tenth quicker at once in PyTorch (docs/kernels.md).
    ("e3nn_kernel.py", "E3nnKernel.chunked"),
    ("e3nn_kernel.py", "E3nnKernel.extra"),
    ("e3nn_kernel.py", "E3nnKernel.packages"),
    ("openequivariance_kernel.py", "OpenEquivarianceKernel.packages"),
    ("openequivariance_kernel.py", "OpenEquivarianceKernel.then"),
}

DIFFERING_BODIES = {
    "__init__.py": {"__all__": "only JAX has compilations to keep"},
    "convolution.py": {"aggregate": "JAX scans over chunks in a program; PyTorch loops and recomputes"},
    "e3nn_kernel.py": {
        "E3nnKernel.__init__": "e3nn and e3nn-jax are two packages",
        "E3nnKernel._convolve": "e3nn-jax has a function, e3nn a module for each layer",
        "E3nnKernel._product": "e3nn's modules are made once",
    },
    "ensemble.py": {
        "EnsemblePotential.__init__": "JAX maps one program over the stacked parameters of the members",
        "EnsemblePotential.__getstate__": "compiled programs cannot be copied",
        "EnsemblePotential.__setstate__": "compiled programs cannot be copied",
        "EnsemblePotential._evaluate_members": "JAX maps, PyTorch loops over the members",
        "EnsemblePotential._run_members": "PyTorch differentiates the shared layers once by hand",
    },
    "isolation.py": {
        "_Isolation._is_running": "each framework tells in its own way whether it runs",
        "_Isolation._check_fork": "PyTorch runs in a forked child with one thread, JAX does not",
        "_Isolation._settings": "the settings of a framework are its own",
    },
    "kernels.py": {
        "_list_devices": "the frameworks list devices differently, and JAX may fail to start",
        "find_device": "the frameworks list devices differently",
    },
    "layers.py": {"Matrices": "PyTorch's modules hold parameters in a type of their own"},
    "native_kernel.py": {
        "NativeKernel.energies": "PyTorch must be asked which derivatives it will take",
        "_energies": "each framework registers operators in its own way",
        "_gradient": "each framework registers operators in its own way",
        "_backward": "each framework registers operators in its own way",
        "_refuse": "each framework registers operators in its own way",
    },
    "openequivariance_kernel.py": {
        "OpenEquivarianceKernel._convolve": "PyTorch chooses a device and wants 64-bit indices",
        "OpenEquivarianceKernel._make": "the options of OpenEquivariance's two halves differ",
        "_find_classes": "OpenEquivariance has two halves",
    },
    "ops.py": {
        **dict.fromkeys(("sigmoid", "constant", "cast", "one_hot", "split", "take"), "the dialect"),
        **dict.fromkeys(("segment_sum", "scatter_sum"), "the dialect"),
        "rematerialise": "JAX has its own",
        "_Rematerialised.__call__": "JAX has its own",
        "_Rematerialised.backward": "JAX has its own",
    },
    "potential.py": {
        "energy_gradient": "JAX differentiates functions, PyTorch tensors",
        "gradient_slope": "JAX differentiates functions, PyTorch tensors",
        "hessian_product": "PyTorch records derivatives unless they are switched off",
        "Potential._prepare": "JAX compiles",
        "Potential._make_model": "JAX puts parameters on a device all at once",
        "Potential.__getstate__": "compiled programs cannot be copied",
        "Potential.__setstate__": "compiled programs cannot be copied",
        "Potential.platform": "the frameworks name a device's kind differently",
        "Potential._evaluate_graph": "JAX calls a compiled program",
        "Potential._evaluate_features": "JAX calls a compiled program",
        "Potential._hessian_products": "JAX calls a compiled program",
        "Potential._compile": "JAX compiles",
        "Potential._compiling": "JAX compiles",
        "Potential._put": "the frameworks place arrays differently",
        "Potential._arrange": "JAX pads to sizes that are compiled already",
    },
}
"""By file and name, why the engines differ; everything else has the same body in both."""


def shared_files():
    return sorted(
        {path.name for folder in ENGINES.values() for path in folder.glob("*.py")} - set(ONLY_FILES)
    )
