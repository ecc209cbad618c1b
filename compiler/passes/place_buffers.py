"""place_buffers: where each value lives during a run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from lazyflow.compiler import primitives
from lazyflow.compiler.graph import Graph, Layout, Op, Placement, Program, Value, Variable
from lazyflow.compiler.placement import arena
from lazyflow.compiler.placement.layout import count, dense, viewed
from lazyflow.compiler.placement.lifetimes import Lifetimes
from lazyflow.compiler.reasons import name_of, reason
from lazyflow.runtime import dtypes, schema
from lazyflow.runtime.dimensions import Size
from lazyflow.runtime.errors import GraphError


def place_buffers(graph: Graph) -> Graph:
    """Attach to each program the memory of its values.

    Values whose lives overlap share no byte. Those of static size have offsets in one slot; one with named
    dimensions has a slot, shared with others of which one is provably the largest. A result takes the memory
    of what it replaces where a kernel reads that for the last time, each element at the index that it writes;
    a kernel that walks its rows several times writes such a result in the last walk.

    Args:
        graph: A graph behind ``order``.

    Returns:
        The graph with ``placement`` set in its programs.

    >>> from lazyflow.compiler.text import from_text, to_text
    >>> print(to_text(place_buffers(from_text('''
    ...     %0 = placeholder name=x : float32[batch]
    ...     %1 = copy %0 : float32[batch]
    ...     %2 = reshape %1 : float32[1, batch]
    ...     fetch y = %2
    ...     order %1'''))).partition("order %1")[2])
    <BLANKLINE>
    slots (4*batch,) (4*batch,)
    buffer place=feed name=x slot=0 offset=0 size=batch : float32
    buffer place=arena slot=0 offset=0 size=batch : float32
    at %0 buffer=0 offset=0 strides=(1,)
    at %1 buffer=1 offset=0 strides=(1,)
    at %2 buffer=1 offset=0 strides=(batch, 1)
    """
    constants = _Constants()
    programs, reasons = {}, list(graph.reasons)
    for program in graph.programs.values():
        placing = _Placing(constants, program)
        placement = placing.run(graph.reachable([program]))
        programs[program.name] = replace(program, placement=placement)
        reasons += placing.reasons()
    return graph.replaced(graph.ops, programs, reasons=reasons)


class _Constants:
    """The names of constants: equal ones have one."""

    def __init__(self) -> None:
        self._names: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def name(self, op: Op) -> str:
        """The name under which the plan holds the constant."""
        value = np.asarray(op.attributes["value"])
        key = (value.dtype.name, value.shape, value.tobytes())
        return self._names.setdefault(key, f"constant_{len(self._names)}")


class _Placing:
    """Places the values of one program."""

    def __init__(self, constants: _Constants, program: Program) -> None:
        self._constants = constants
        self._lifetimes = Lifetimes(program)
        self._places, slots = arena.place(self._lifetimes.spans)
        bound = arena.lower_bound(self._lifetimes.spans, len(program.order or ()))
        self._placement = Placement(slots=slots, lower_bound=bound)
        self._variables: dict[Variable, int] = {}

    def run(self, ops: Iterable[Op]) -> Placement:
        """The placement of all values of these ops."""
        for op in ops:
            if op.primitive.view:
                self._view(op)
            elif op.primitive.leaf:
                self._leaf(op)
            elif op.primitive.effect:
                for value, variable in zip(op.outputs, op.assigned, strict=True):
                    self._at(value, self._variable(variable))
            else:
                for value in op.outputs:
                    target = self._lifetimes.assigned.get(value)
                    self._at(value, self._arena(value) if target is None else self._variable(target))
        return self._placement

    def reasons(self) -> list[schema.Reason]:
        """Why results have no memory of their own."""
        reasons = []
        for value, replaced in self._lifetimes.in_place.items():
            text = f"takes the memory of {name_of(replaced.op)}, which is not needed any more"
            reasons.append(reason("place_buffers", "in_place", text, value.op))
        for value, variable in self._lifetimes.assigned.items():
            text = f"made in the memory of {variable.name}, whose next value it is"
            reasons.append(reason("place_buffers", "assigned", text, value.op))
        return reasons

    def _at(self, value: Value, buffer: int) -> None:
        self._placement.layouts[value] = Layout(buffer, 0, dense(value.shape))

    def _view(self, op: Op) -> None:
        layout = viewed(op, self._placement.layouts[op.inputs[0]])
        if layout is None:
            raise GraphError(f"place_buffers: {op.primitive.name} needs a copy that fuse should have made")
        self._placement.layouts[op.output] = layout

    def _leaf(self, op: Op) -> None:
        value = op.output
        if op.primitive is primitives.variable:
            self._at(value, self._variable(op.attributes["variable"]))
        elif op.primitive is primitives.placeholder:
            self._at(value, self._buffer(value, "feed", op.attributes["name"]))
        else:
            self._at(value, self._buffer(value, "constant", self._constants.name(op)))

    def _variable(self, variable: Variable) -> int:
        if variable not in self._variables:
            size = count(variable.shape)
            buffer = schema.Buffer(
                dtype=dtypes.NAMES[variable.dtype], size=_extent(size), place="variable", name=variable.name
            )
            self._placement.buffers.append(buffer)
            self._variables[variable] = len(self._placement.buffers) - 1
        return self._variables[variable]

    def _buffer(self, value: Value, place: str, name: str) -> int:
        size = _extent(count(value.shape))
        self._placement.buffers.append(
            schema.Buffer(dtype=dtypes.NAMES[value.dtype], size=size, place=place, name=name)
        )
        return len(self._placement.buffers) - 1

    def _arena(self, value: Value) -> int:
        place = self._places[self._lifetimes.pieces[value]]
        size = _extent(count(value.shape))
        self._placement.buffers.append(
            schema.Buffer(
                dtype=dtypes.NAMES[value.dtype],
                size=size,
                place="arena",
                slot=place.slot,
                offset=place.offset,
            )
        )
        return len(self._placement.buffers) - 1


def _extent(size: Size) -> schema.Extent:
    return size if isinstance(size, int) else str(size)
