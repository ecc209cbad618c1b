"""lf.Graph: the open graph and its programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING

import lazyflow.autograd  # noqa: F401, with all functions: no graph is open before Tensor's operators work
from lazyflow.compiler import graph as ir
from lazyflow.context import GraphContext, ProgramContext, find_graph, opened
from lazyflow.location import user_line
from lazyflow.runtime.errors import ArgumentTypeError, GraphError, message
from lazyflow.tensor import Tensor
from lazyflow.variable import Variable

if TYPE_CHECKING:
    import networkx as nx


class Graph(GraphContext):
    """A training job as a symbolic graph: placeholders, variables, ops and programs.

    Inside ``with lf.Graph("name") as graph:`` every call appends ops and nothing computes.

    Args:
        name: Its name in plans and drawings.
    """

    def __init__(self, name: str = "graph") -> None:
        if not isinstance(name, str) or not name:
            raise ArgumentTypeError(f"Graph: name {name!r} is not a name; expected a string")
        super().__init__(name)
        self._opened: AbstractContextManager[None] | None = None

    @property
    def name(self) -> str:
        """The graph's name."""
        return self.ir.name

    def __enter__(self) -> Graph:
        outer = find_graph()
        if outer is not None:
            raise GraphError(
                message(
                    f"Graph {self.name!r}: graph {outer.ir.name!r} is open already",
                    here=f"at {user_line()}",
                    hint="leave the first `with` block before you open a second graph",
                )
            )
        self._opened = opened(self)
        self._opened.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        manager, self._opened = self._opened, None
        if manager is not None:
            manager.__exit__(None, None, None)

    def program(self, name: str, fetches: Mapping[str, Tensor] | None = None) -> Program:
        """A named entry point. ``with graph.program("train"):`` gathers the effects written inside.

        Args:
            name: What ``session.run`` calls it.
            fetches: The Tensors that a run returns, by name; more can be added with ``fetch``.

        Raises:
            GraphError: if the name is taken, or the graph is compiled.
        """
        self.check_open()
        if not isinstance(name, str) or not name:
            raise ArgumentTypeError(f"program: name {name!r} is not a name; expected a string")
        if name in self.ir.programs or name == "init":
            taken = "is that of the program that draws the initial values" if name == "init" else "is taken"
            raise GraphError(
                message(
                    f"program: the name {name!r} {taken}",
                    here=f"at {user_line()}",
                    hint="give another name; to add to a program, keep it: program = graph.program(...)",
                )
            )
        if fetches is not None and not isinstance(fetches, Mapping):
            raise ArgumentTypeError(
                message(
                    f"program: fetches={fetches!r} is no mapping",
                    expected="a Tensor for each name that a run returns",
                    here=f"at {user_line()}",
                    hint='graph.program("predict", fetches={"y": y})',
                )
            )
        program = Program(self, name)
        if fetches is not None:
            program.fetch(**fetches)
        return program

    def programs(self) -> dict[str, ir.Program]:
        """The programs by name, in the order in which they were made."""
        return dict(self.ir.programs)

    def scope(self, name: str) -> AbstractContextManager[None]:
        """Prefix the names of ops made inside the block with ``name/``."""
        return self.scoped(name)

    def to_networkx(self) -> nx.MultiDiGraph[str]:
        """A MultiDiGraph of ops and values, for drawing, queries and interchange."""
        from lazyflow.inspect import to_networkx

        return to_networkx(self._snapshot())

    def draw(self, path: str) -> None:
        """Draw the graph into a file: ``.dot`` or ``.svg``."""
        from lazyflow.inspect import draw

        draw(self._snapshot(), path)

    def _snapshot(self) -> ir.Graph:
        """The IR as it is now; before it is compiled, with the names that the variables have so far."""
        if self.frozen_at is not None:
            return self.ir
        for description, variable in self.variables.items():
            description.name = variable.name
        return self.ir.replaced(self.ir.ops, self.ir.programs, variables=list(self.variables))

    def __repr__(self) -> str:
        return f"<{self._snapshot()}>"

    def __str__(self) -> str:
        from lazyflow.inspect import listing

        return listing(self._snapshot())


class Program(ProgramContext):
    """A named entry point of a graph: its effects and its fetches."""

    def __init__(self, graph: Graph, name: str) -> None:
        super().__init__(ir.Program(name), user_line())
        self.graph = graph
        self.gradients = Gradients(self)
        graph.ir.programs[name] = self.ir

    @property
    def name(self) -> str:
        """The program's name."""
        return self.ir.name

    def fetch(self, **tensors: Tensor) -> None:
        """Return the Tensors from each run, under these names.

        Raises:
            GraphError: if a name is fetched already, or a Tensor is of another graph.
            ArgumentTypeError: if something is no Tensor.
        """
        self.graph.check_open()
        for name, tensor in tensors.items():
            if not isinstance(tensor, Tensor):
                raise ArgumentTypeError(
                    message(f"fetch: {name}={tensor!r} is no Tensor", here=f"at {user_line()}")
                )
            if name in self.ir.fetches:
                raise GraphError(f"fetch: {name!r} is fetched twice in program {self.name!r}")
            with opened(self.graph):
                value = tensor.value
            if tensor.graph is not self.graph:
                raise GraphError(
                    message(
                        f"fetch: {name!r} is a Tensor of another graph",
                        tensor=tensor.describe(),
                        expected=f"one of graph {self.graph.name!r}, got one of {tensor.graph.ir.name!r}",
                    )
                )
            self.ir.fetches[name] = value

    def __enter__(self) -> Program:
        self.graph.check_open()
        if find_graph() is not self.graph:
            raise GraphError(
                message(
                    f"program {self.name!r}: its graph is not open",
                    here=f"at {user_line()}",
                    hint="write it inside `with lf.Graph(...) as graph:`",
                )
            )
        if self.graph.open_program is not None:
            raise GraphError(
                message(
                    f"program {self.name!r}: program {self.graph.open_program.ir.name!r} is open already",
                    here=f"at {user_line()}",
                    hint="programs do not nest; leave the first `with` block",
                )
            )
        self.graph.open_program = self
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                for close in self.closing:
                    close()
        finally:
            self.closing.clear()
            self.graph.open_program = None


class Gradients(Mapping[Tensor, Tensor]):
    """The gradients of a program by Parameter: ``program.gradients[weight]``."""

    def __init__(self, program: Program) -> None:
        self._program = program

    def __getitem__(self, variable: Tensor) -> Tensor:
        if not isinstance(variable, Variable) or variable.ir not in self._program.gradient_values:
            raise KeyError(variable)
        return Tensor(self._program.graph, self._program.gradient_values[variable.ir])

    def __iter__(self) -> Iterator[Tensor]:
        return iter([self._program.graph.variables[v] for v in self._program.gradient_values])

    def __len__(self) -> int:
        return len(self._program.gradient_values)
