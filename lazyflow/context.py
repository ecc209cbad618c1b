"""The graph that is open and the program that is open in it: what every call appends to."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from lazyflow.compiler import graph as ir
from lazyflow.compiler.graph import Op, Origin, Value
from lazyflow.location import user_line
from lazyflow.runtime.errors import GraphError, message

_open: ContextVar[GraphContext | None] = ContextVar("lazyflow_open_graph", default=None)


class ProgramContext:
    """A program being built: its IR, the gradients gathered in it, and the next values of variables."""

    def __init__(self, program: ir.Program, location: str) -> None:
        self.ir = program
        self.location = location
        self.gradient_values: dict[ir.Variable, Value] = {}
        self.next_values: dict[ir.Variable, Value] = {}
        self.assigned_at: dict[ir.Variable, str] = {}
        self.taken_at: dict[ir.Variable, str] = {}  # where an optimizer's step took the gradients
        self.closing: list[
            Callable[[], None]
        ] = []  # run when the block ends, while the program is still open

    def add_effect(self, op: Op) -> Op:
        """Append an effect.

        Raises:
            GraphError: if the program assigns one of its variables already.
        """
        for variable, value in zip(op.assigned, op.outputs, strict=op.primitive.name != "print"):
            known = self.assigned_at.get(variable)
            if known is not None:
                raise GraphError(
                    message(
                        f"assign: {_name(variable, op)!r} is assigned twice in program {self.ir.name!r}",
                        first=f"at {known}",
                        second=f"at {op.origins[0].location}",
                        expected="one assignment of a variable in a program",
                        hint="join the two with lf.where, or put one into another program",
                    )
                )
            self.assigned_at[variable] = op.origins[0].location
            self.next_values[variable] = value
        self.ir.effects.append(op)
        return op


def _name(variable: ir.Variable, op: Op) -> str:
    """A variable's name; it is final at compile, so before that often what the op is called after it."""
    return variable.name or op.origins[0].name.removesuffix(".assign")


class GraphContext:
    """What appending needs of a graph: its IR, its name scope, and whether it is frozen."""

    def __init__(self, name: str) -> None:
        self.ir = ir.Graph(name)
        self.prefix = ""
        self.frozen_at: str | None = None
        self.open_program: ProgramContext | None = None
        self.is_rule = False  # an update rule being traced: holds no variables and no programs of users
        self.variables: dict[ir.Variable, Any] = {}  # the front's Variable of each, in the order of adoption
        self.optimizers: list[Any] = []
        self.pinned: tuple[Origin, ...] | None = None  # the origin of all ops, while gradients are appended
        self.numbers: dict[Hashable, Value] = {}  # the constants that stand for plain numbers
        self.shared: dict[str, Any] = {}  # what a room keeps once per graph (the random state, say)

    def append(self, op: Op) -> Op:
        """Add an op.

        Raises:
            GraphError: if the graph is compiled already.
        """
        if self.frozen_at is not None:
            self.check_open()
        self.ir.ops.append(op)
        return op

    def check_open(self) -> None:
        """Raise GraphError where the graph is frozen."""
        if self.frozen_at is not None:
            raise GraphError(
                message(
                    f"graph {self.ir.name!r} is compiled; nothing can be appended to it",
                    compiled=f"at {self.frozen_at}",
                    here=f"at {user_line()}",
                    hint="build everything before lf.compile, or build a new lf.Graph",
                )
            )

    def origin(self, name: str) -> tuple[Origin, ...]:
        """The origin of an op made now."""
        if self.pinned is not None:
            return self.pinned
        return (Origin(f"{self.prefix}/{name}" if self.prefix else name, user_line()),)

    def pin(self, name: str, location: str) -> None:
        """Give all ops made from now on this origin, until ``pinned`` is None again."""
        self.pinned = (Origin(name, location),)

    def program_for(self, call: str) -> ProgramContext:
        """The open program, for a call that appends an effect.

        Raises:
            GraphError: if no program is open.
        """
        if self.open_program is None:
            raise GraphError(
                message(
                    f"{call} was called outside of a program",
                    here=f"at {user_line()}",
                    expected="an open program: effects belong to the program that runs them",
                    hint=f'with graph.program("train"): ... {call}',
                )
            )
        self.check_open()
        return self.open_program

    @contextmanager
    def scoped(self, name: str) -> Iterator[None]:
        """Prefix the names of ops made inside with ``name/``."""
        before = self.prefix
        self.prefix = f"{before}/{name}" if before else name
        try:
            yield
        finally:
            self.prefix = before


def find_graph() -> GraphContext | None:
    """The open graph, or None."""
    return _open.get()


def current_graph(call: str = "this call") -> GraphContext:
    """The open graph.

    Raises:
        GraphError: if none is open.
    """
    graph = _open.get()
    if graph is None:
        raise GraphError(
            message(
                f"{call}: no graph is open",
                here=f"at {user_line()}",
                expected="a call inside `with lf.Graph(...):`, where every call appends ops",
                hint="with lf.Graph() as graph: ... once; the loop calls session.run(program, ...)",
            )
        )
    return graph


@contextmanager
def opened(graph: GraphContext) -> Iterator[None]:
    """Make ``graph`` the open one inside the block."""
    token = _open.set(graph)
    try:
        yield
    finally:
        _open.reset(token)
