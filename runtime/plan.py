"""What compiling gives: a Plan makes sessions, is saved and loaded, and can be looked into."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

from msgspec.structs import replace
from numpy.typing import NDArray

from lazyflow.runtime import schema
from lazyflow.runtime.archive import fingerprint, read_archive, write_archive
from lazyflow.runtime.backends.backend import Backend
from lazyflow.runtime.collector import uncollected
from lazyflow.runtime.errors import ArgumentError, ArgumentTypeError, message
from lazyflow.runtime.session import Session
from lazyflow.runtime.verify import verify, verify_arrays

if TYPE_CHECKING:
    from lazyflow.runtime.inspect.summary import Summary

Array: TypeAlias = NDArray[Any]

_BACKENDS = ("auto", "numpy", "cpu")
_PRECISIONS = (None, "float64")
_SEED = "random/seed"  # the variable that all draws depend on
_INIT = "init"  # the program that assigns what no plain number fills


_logger = logging.getLogger("lazyflow")


@cache
def _say_once(text: str) -> None:
    _logger.warning(text)


class Plan:
    """A compiled graph: a verified document, its constants, and the state that was saved along, if any.

    What a plan is looked into with, and each backend, is imported where it is asked for: a process that loads
    a plan and runs it starts without the others.

    Args:
        document: The plan's document.
        constants: The array of each of its constants.
        state: A value per variable, with which sessions start; None: they start with the initial values.
        source: Writes the text of the graph, where the document does not hold it yet.

    Raises:
        PlanError: if the document does not verify.
    """

    def __init__(
        self,
        document: schema.Document,
        constants: Mapping[str, Array],
        state: Mapping[str, Array] | None = None,
        source: Callable[[], str] | None = None,
    ) -> None:
        verify(document)
        verify_arrays(document.constants, constants, "constant")
        if state is not None:
            verify_arrays(document.variables, state, "variable")
        self.document = document
        self.constants = dict(constants)
        self.state = None if state is None else dict(state)
        self._source = source

    @cached_property
    def source(self) -> str:
        """The graph as the user built it, one line per op, with the user's names and lines."""
        return self.document.source if self._source is None else self._source()

    def session(
        self, backend: str = "auto", seed: int | None = None, precision: str | None = None
    ) -> Session:
        """Live variables on a backend, ready to run.

        Args:
            backend: "numpy" (the reference), "cpu" (machine code for this host), or "auto": "cpu" where the
                host has the compiler for it, else "numpy".
            seed: What all random draws depend on, initial values too: 0 unless given. Where the plan was
                saved with a state, that state's seed stays unless another is given.
            precision: None, or "float64" to keep and compute every floating value in float64.

        Raises:
            ArgumentError: if there is no such backend or precision, or the seed is no int64.
        """
        if backend not in _BACKENDS:
            raise ArgumentError(message(f"no backend is named {backend!r}", expected=", ".join(_BACKENDS)))
        if precision not in _PRECISIONS:
            raise ArgumentError(message(f"precision: {precision!r} is none", expected="None or 'float64'"))
        _check_seed(seed)
        with uncollected():
            session = Session(self.document, self._backend(backend, precision), precision)
        if self.state is not None:
            session.load_state_dict(self.state)
        draws = any(variable.name == _SEED for variable in self.document.variables)
        if draws and (self.state is None or seed is not None):
            session.set(_SEED, seed or 0)
        if self.state is None and any(program.name == _INIT for program in self.document.programs):
            session.run(_INIT)
        return session

    def _backend(self, name: str, precision: str | None) -> Backend:
        if precision is not None and name == "cpu":
            raise ArgumentError(
                message("precision: the cpu backend computes as the plan says", hint='backend="numpy"')
            )
        if precision is None and name != "numpy":
            made = self._compiled()
            if not isinstance(made, str):
                return made
            if name == "cpu":
                raise ArgumentError(message(f"the cpu backend needs {made}", hint='backend="numpy"'))
            _say_once(f"there is no {made} here: plans run on the numpy backend, which is slower")
        from lazyflow.runtime.backends.numpy import NumpyBackend

        return NumpyBackend(self.document, self.constants, precision)

    def _compiled(self) -> Backend | str:
        """The cpu backend, or what it lacks."""
        try:
            # here, because a plan runs where llvmlite is not installed
            from lazyflow.runtime.backends.cpu.cpu import CpuBackend
            from lazyflow.runtime.backends.cpu.support import lacking

            return lacking(self.document) or CpuBackend(self.document, self.constants)
        except ModuleNotFoundError as error:
            package = (error.name or "").partition(".")[0]
            if package not in ("llvmlite", "scipy"):
                raise
            return f"{package} (pip install llvmlite scipy)"

    def save(self, path: str | os.PathLike[str], state: Session | Mapping[str, Array] | None = None) -> None:
        """Write the plan to a .lfplan file: all that is needed to run it, without the code that built it.

        Args:
            path: The file; it holds the old plan or the new one, never a part.
            state: A session, or what its ``state_dict`` gave, from whose values loaded plans go on.

        Raises:
            OSError: if the file cannot be written.
            PlanError: if the state does not fit the plan's variables.
        """
        if isinstance(state, Session):
            state = state.state_dict()
        elif state is None:
            state = self.state
        elif not isinstance(state, Mapping):
            raise ArgumentTypeError(
                f"save: state is {type(state).__name__}; expected a Session or a state_dict()"
            )
        if state is not None:
            verify_arrays(self.document.variables, state, "variable")
        write_archive(path, replace(self.document, source=self.source), self.constants, state)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what the plan computes; names of ops, lines of code and reasons do not enter."""
        return fingerprint(self.document, self.constants)

    def summary(self, **dimensions: int) -> Summary:
        """Programs, kernels, bytes and peak memory, for given values of the named dimensions.

        Args:
            **dimensions: Values of named dimensions; sizes stay polynomials of those that are not given.

        Returns:
            The figures as attributes; ``print`` shows them on one screen.

        Raises:
            ArgumentError: if the plan has no dimension of that name, or a value is no size.
        """
        from lazyflow.runtime.inspect.summary import summarize

        return summarize(self.document, dimensions)

    def explain(self, about: str = "") -> str:
        """The reasons that the compiler's passes left: what was fused, batched or placed, and why.

        Args:
            about: Only the reasons in whose op, code or text this occurs; all unless given.
        """
        from lazyflow.runtime.inspect.reasons import explain

        return explain(self.document, about)

    def draw(self, path: str | os.PathLike[str]) -> None:
        """Draw the programs into a file: ``.svg``, or ``.dot`` for graphviz.

        Raises:
            ArgumentError: if the suffix is neither.
            OSError: if the file cannot be written.
        """
        from lazyflow.runtime.inspect.drawing import draw

        draw(self.document, path)

    def __str__(self) -> str:
        from lazyflow.runtime.inspect.listing import listing

        return listing(self.document)


def load_plan(path: str | os.PathLike[str]) -> Plan:
    """Read a plan that ``Plan.save`` wrote, and verify it. No code of the file is run.

    Raises:
        OSError: if the file cannot be read.
        PlanError: if it is no plan, needs a newer version, or does not verify.
    """
    return Plan(*read_archive(path))


def _check_seed(seed: object) -> None:
    if seed is None:
        return
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise ArgumentTypeError(f"seed: {seed!r} is no int")
    if not -(2**63) <= seed < 2**63:
        raise ArgumentError(message(f"seed: {seed} is out of range", expected="an int of 64 bits"))
