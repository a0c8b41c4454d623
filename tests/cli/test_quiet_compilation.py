"""XLA's banners about slow compilations stay out of what a command prints."""

import os
import subprocess
import sys

SLOW = """
import sys
from nequix import cli

def compile_slowly():
    import jax
    import numpy as np
    from jax import lax

    n = 200_000  # a constant that XLA takes seconds to fold; it warns after one

    def add():
        values = jax.numpy.asarray(np.sqrt(np.arange(n, dtype=np.float32)))
        return lax.reduce_window(values, 0.0, lax.add, (n,), (1,), ((n - 1, 0),)).sum()

    print(f"{float(jax.jit(add)()):.3g}")

if sys.argv[1] == "command":
    cli.app = compile_slowly
    cli.main()
else:
    compile_slowly()
"""


def run(how: str) -> subprocess.CompletedProcess:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TF_CPP")}
    return subprocess.run(
        [sys.executable, "-c", SLOW, how],
        env={**environment, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )


def test_slow_compilations_print_no_banner():
    """The same program has banners without the command line: the test would notice them."""
    assert "Constant folding an instruction is taking" in run("program").stderr
    done = run("command")
    assert (done.stdout, done.stderr) == ("4.77e+12\n", "")
