"""What a convolution kernel is to its user: a name, what it needs, and how often it ran."""

from __future__ import annotations

from nequix.io.weights import Weights


class Kernel:
    """What the kernels of every engine share; an engine adds ``convolve``.

    Attributes:
        name: What the user calls it.
        chunked: Whether it gets edges chunk by chunk; a fused kernel stores no messages and wants them all.
        platforms: Where it runs: ``cpu``, ``gpu``.
        packages: Modules that it imports from its extra; a missing one means that it is not installed.
        extra: The extra of nequix that installs them.
        then: A command that is needed after that.
        n_calls: How often it ran, as proof that it did. JAX runs it once per compilation.
    """

    name: str
    chunked: bool = True
    platforms: tuple[str, ...] = ("cpu", "gpu")
    packages: tuple[str, ...] = ()
    extra: str = ""
    then: str = ""

    def __init__(self) -> None:
        self.n_calls: int = 0

    def bind(self, weights: Weights, dtype: str) -> None:
        """Prepare for a model; most kernels need nothing.

        Args:
            weights: The model.
            dtype: Precision of the layers.
        """

    def use_threads(self, threads: int) -> None:
        """Use a number of threads from now on.

        Args:
            threads: How many.

        Raises:
            ValueError: If the number is impossible, or the framework decides on the threads of this kernel.
        """
        raise ValueError(
            f"threads = {threads!r}, but kernel {self.name!r} uses the threads of its framework: leave them "
            "out and set OMP_NUM_THREADS, or choose kernel='native'"
        )
