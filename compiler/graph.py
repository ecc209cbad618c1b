"""The IR: a list of ops in topological order, variables, and programs that name effects and fetches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from lazyflow.compiler.primitives import Primitive
from lazyflow.compiler.rules import Type
from lazyflow.runtime import schema
from lazyflow.runtime.dimensions import Shape, Size
from lazyflow.runtime.dtypes import DType
from lazyflow.runtime.errors import GraphError


class Origin(NamedTuple):
    """The user's name of an op and the line that made it, ``file name:line``."""

    name: str
    location: str


class Value:
    """One result of an op: shape, dtype, both as its type, and the op that makes it."""

    __slots__ = ("dtype", "index", "op", "shape", "type")

    def __init__(self, op: Op, index: int, type_: Type) -> None:
        self.op = op
        self.index = index
        self.type = type_
        self.shape, self.dtype = type_

    def __repr__(self) -> str:
        return f"<{self.op.primitive.name} {self.type}>"


class Op:
    """A node of a graph: a primitive, its inputs, attributes and outputs, and where the user wrote it."""

    __slots__ = ("attributes", "inputs", "origins", "outputs", "primitive")

    def __init__(
        self,
        primitive: Primitive,
        inputs: tuple[Value, ...],
        attributes: dict[str, Any],
        types: tuple[Type, ...],
        origins: tuple[Origin, ...] = (),
    ) -> None:
        self.primitive = primitive
        self.inputs = inputs
        self.attributes = attributes
        self.origins = origins
        self.outputs = tuple([Value(self, i, type_) for i, type_ in enumerate(types)])

    @property
    def output(self) -> Value:
        """The one output."""
        return self.outputs[0]

    @property
    def when(self) -> Value | None:
        """The bool scalar that guards this effect, or None."""
        return self.inputs[-1] if self.attributes.get("guarded") else None

    @property
    def assigned(self) -> tuple[Variable, ...]:
        """The variables whose next values are this op's outputs, in their order."""
        attributes = self.attributes
        if not self.primitive.effect:
            return ()
        if "variables" in attributes:
            variables: tuple[Variable, ...] = attributes["variables"]
            return variables
        if "segments" in attributes:
            return tuple(v for variables, _ in attributes["segments"] for v in variables)
        return (attributes["variable"],) if "variable" in attributes else ()

    def __repr__(self) -> str:
        return f"<op {self.primitive.name}>"


def make(
    primitive: Primitive,
    inputs: Iterable[Value],
    attributes: dict[str, Any],
    origins: tuple[Origin, ...] = (),
) -> Op:
    """An op with the output types that the primitive's rules give.

    Raises:
        ShapeError, DTypeError: if the inputs do not fit the primitive.
        GraphError: if their number, or the attributes' names, do not.
    """
    inputs = tuple(inputs)
    if primitive.arity is not None and len(inputs) != primitive.arity:
        raise GraphError(f"{primitive.name}: takes {primitive.arity} inputs, got {len(inputs)}")
    if attributes.keys() != primitive.names:
        raise GraphError(f"{primitive.name}: attributes are {primitive.attributes}, got {tuple(attributes)}")
    types = primitive.infer([value.type for value in inputs], attributes)
    return Op(primitive, inputs, attributes, types, origins)


@dataclass(eq=False)
class Variable:
    """A stored value of a graph. The front gives the final name when the graph is compiled.

    Attributes:
        name: Its key in the state.
        shape: Static sizes.
        dtype: Its element type.
        trainable: Whether it is a Parameter.
        initial: The number that fills it; the ``init`` program may assign it.
        location: The user's line that made it.
    """

    name: str
    shape: tuple[int, ...]
    dtype: DType
    trainable: bool = False
    initial: bool | int | float = 0
    location: str = ""


@dataclass(eq=False)
class Placement:
    """What ``place_buffers`` decided for a program: buffers, slots, and a layout per value."""

    buffers: list[schema.Buffer] = field(default_factory=list)
    slots: list[Size] = field(default_factory=list)
    lower_bound: list[Size] = field(default_factory=list)
    layouts: dict[Value, Layout] = field(default_factory=dict)


class Layout(NamedTuple):
    """Where a value's elements are: buffer number, offset and strides in elements."""

    buffer: int
    offset: Size
    strides: Shape


@dataclass(eq=False)
class Program:
    """A named entry point: effects in the user's order, and fetches.

    ``feeds`` are the placeholders that the program reached before any pass dropped the use of one, so that
    what a run must be given does not depend on what the passes can do. ``order`` is what ``order`` attaches:
    the ops that become instructions, in execution order. ``placement`` is what ``place_buffers`` attaches.
    """

    name: str
    effects: list[Op] = field(default_factory=list)
    fetches: dict[str, Value] = field(default_factory=dict)
    feeds: tuple[Value, ...] = ()
    order: tuple[Op, ...] | None = None
    placement: Placement | None = None

    def roots(self) -> list[Op]:
        """The ops whose effects or values the program asks for, and those of its feeds."""
        return [*self.effects, *(value.op for value in (*self.fetches.values(), *self.feeds))]


@dataclass(eq=False)
class Graph:
    """Ops in topological order, variables by declaration, programs by name, and the decisions of passes."""

    name: str = "graph"
    ops: list[Op] = field(default_factory=list)
    variables: list[Variable] = field(default_factory=list)
    programs: dict[str, Program] = field(default_factory=dict)
    optimizers: list[schema.Optimizer] = field(default_factory=list)
    reasons: list[schema.Reason] = field(default_factory=list)

    def append(self, op: Op) -> Op:
        """Add an op behind those that it uses."""
        self.ops.append(op)
        return op

    def users(self) -> dict[Value, list[Op]]:
        """The ops that take each value as an input, in order; once per use."""
        users: dict[Value, list[Op]] = {}
        for op in self.ops:
            for value in op.inputs:
                users.setdefault(value, []).append(op)
        return users

    def reachable(self, programs: Iterable[Program] | None = None) -> list[Op]:
        """The ops that the programs (all, unless given) need, in the graph's order."""
        chosen = self.programs.values() if programs is None else programs
        stack = [op for program in chosen for op in program.roots()]
        seen = set(stack)
        while stack:
            for value in stack.pop().inputs:
                op = value.op
                if op not in seen:
                    seen.add(op)
                    stack.append(op)
        return [op for op in self.ops if op in seen]

    def replaced(self, ops: list[Op], programs: Mapping[str, Program], **changes: Any) -> Graph:
        """A graph with these ops and programs and otherwise this one's tables, copied."""
        tables: dict[str, Iterable[Any]] = {
            "variables": self.variables,
            "optimizers": self.optimizers,
            "reasons": self.reasons,
        }
        tables.update(changes)
        return Graph(self.name, ops, programs=dict(programs), **{k: list(v) for k, v in tables.items()})

    def __str__(self) -> str:
        counts = f"{len(self.ops)} ops, {len(self.variables)} variables, programs: {', '.join(self.programs)}"
        return f"Graph {self.name!r}: {counts}"
