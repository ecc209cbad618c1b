"""class Plan: what compiling gives. Immutable; makes sessions, is saved and loaded, and can be looked into."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, TypeAlias

from numpy.typing import NDArray

from lazyflow.runtime import schema
from lazyflow.runtime.backends.numpy import NumpyBackend
from lazyflow.runtime.errors import ArgumentError, message
from lazyflow.runtime.inspect.listing import listing
from lazyflow.runtime.session import Session

Array: TypeAlias = NDArray[Any]

_BACKENDS = {"auto": NumpyBackend, "numpy": NumpyBackend}
_PRECISIONS = (None, "float64")
_SEED, _INIT = (
    "random/seed",
    "init",
)  # the variable that all draws depend on; the program that fills variables


class Plan:
    """A compiled graph: a verified document, its constants, and the state that was saved along, if any.

    Args:
        document: The plan's document.
        constants: The array of each of its constants.
        state: A value per variable, with which sessions start; None: they start with the initial values.

    Raises:
        PlanError: if the document does not verify.
    """

    def __init__(
        self,
        document: schema.Document,
        constants: Mapping[str, Array],
        state: Mapping[str, Array] | None = None,
    ) -> None:
        self.document = document
        self.constants = dict(constants)
        self.state = None if state is None else dict(state)

    def session(
        self, backend: str = "auto", seed: int | None = None, precision: str | None = None
    ) -> Session:
        """Live variables on a backend, ready to run.

        Args:
            backend: "auto" or "numpy".
            seed: What all random draws depend on, initial values too: 0 unless given. Where the plan was saved
                with a state, that state's seed stays unless another is given.
            precision: None, or "float64" to keep and compute every floating value in float64.

        Raises:
            ArgumentError: if there is no such backend or precision, or the seed is no int64.
        """
        if backend not in _BACKENDS:
            raise ArgumentError(message(f"no backend is named {backend!r}", expected=", ".join(_BACKENDS)))
        if precision not in _PRECISIONS:
            raise ArgumentError(message(f"precision={precision!r}", expected="None or 'float64'"))
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int) or abs(seed) >= 2**63):
            raise ArgumentError(message(f"seed: {seed!r}", expected="an int that fits in 64 bits"))
        executor = _BACKENDS[backend](self.document, self.constants, precision)
        session = Session(self.document, executor, precision)
        if self.state is not None:
            session.load_state_dict(self.state)
        if any(variable.name == _SEED for variable in self.document.variables):
            if self.state is None or seed is not None:
                session.set(_SEED, seed or 0)
        if self.state is None and any(program.name == _INIT for program in self.document.programs):
            session.run(_INIT)
        return session

    def summary(self, **dimensions: int) -> Any:
        """Programs, kernels, bytes and peak memory, for given values of the named dimensions."""
        return import_module("lazyflow.runtime.inspect.summary").summarize(self.document, dimensions)

    def draw(self, path: str) -> None:
        """Draw the programs into a file, of the kind that its suffix says."""
        import_module("lazyflow.runtime.inspect.drawing").draw(self.document, path)

    def __str__(self) -> str:
        return listing(self.document)
