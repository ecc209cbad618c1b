"""emit: the plan's document of a graph whose programs are ordered and placed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lazyflow.compiler import primitives
from lazyflow.compiler.graph import Graph, Op, Origin, Placement, Program, Value
from lazyflow.compiler.instructions import EMITTERS, Writing, extents
from lazyflow.compiler.lower import number
from lazyflow.runtime import dtypes, schema
from lazyflow.runtime.dimensions import names_of
from lazyflow.runtime.errors import GraphError

Arrays: TypeAlias = dict[str, NDArray[Any]]


def emit(graph: Graph) -> tuple[schema.Document, Arrays]:
    """Write the plan.

    Args:
        graph: A graph behind ``place_buffers``.

    Returns:
        The document, and the array of each of its constants.

    >>> from lazyflow.compiler.text import from_text
    >>> document, constants = emit(from_text('''
    ...     %0 = placeholder name=x : float32[batch, 4]
    ...     %1 = copy %0 : float32[batch, 4]
    ...     fetch y = %1
    ...     order %1
    ...     slots (16*batch,) (16*batch,)
    ...     buffer place=feed name=x slot=0 offset=0 size=4*batch : float32
    ...     buffer place=arena slot=0 offset=0 size=4*batch : float32
    ...     at %0 buffer=0 offset=0 strides=(4, 1)
    ...     at %1 buffer=1 offset=0 strides=(4, 1)'''))
    >>> copy = document.programs[0].instructions[0]
    >>> copy.space, copy.source.strides, copy.to.buffer
    (('batch', 4), (4, 1), 1)
    """
    origins = _Origins()
    constants = _Constants()
    programs = tuple(_program(graph, program, origins, constants) for program in graph.programs.values())
    document = schema.Document(
        name=graph.name,
        variables=tuple(_variable(v) for v in _variables(graph)),
        constants=tuple(constants.rows),
        programs=programs,
        optimizers=tuple(graph.optimizers),
        origins=tuple(schema.Origin(name=name, location=location) for name, location in origins.rows),
        reasons=tuple(graph.reasons),
    )
    return document, constants.arrays


class _Origins:
    """The table of user names and lines."""

    def __init__(self) -> None:
        self.rows: dict[Origin, int] = {}

    def numbers(self, origins: Iterable[Origin]) -> tuple[int, ...]:
        """The rows of these origins."""
        return tuple(self.rows.setdefault(origin, len(self.rows)) for origin in origins)


class _Constants:
    """The arrays of the plan, each once."""

    def __init__(self) -> None:
        self.rows: list[schema.Constant] = []
        self.arrays: Arrays = {}

    def add(self, name: str, value: NDArray[Any]) -> None:
        """Note the array of a constant."""
        if name not in self.arrays:
            self.arrays[name] = np.ascontiguousarray(value).reshape(value.shape)
            self.rows.append(schema.Constant(name=name, dtype=value.dtype.name, shape=value.shape))


def _variables(graph: Graph) -> list[Any]:
    """The declared variables, then any that only an op names."""
    known = dict.fromkeys(graph.variables)
    for op in graph.ops:
        if op.primitive.effect:
            known.update(dict.fromkeys(op.assigned))
        elif op.primitive is primitives.variable:
            known[op.attributes["variable"]] = None
    return list(known)


def _variable(variable: Any) -> schema.Variable:
    return schema.Variable(
        name=variable.name,
        dtype=dtypes.NAMES[variable.dtype],
        shape=variable.shape,
        trainable=variable.trainable,
        initial=number(variable.initial),
    )


def _program(graph: Graph, program: Program, origins: _Origins, constants: _Constants) -> schema.Program:
    if program.order is None or program.placement is None:
        raise GraphError(f"emit: program {program.name} is not ordered and placed yet")
    placement = program.placement
    leaves = [op for op in graph.reachable([program]) if op.primitive.leaf]
    for op in leaves:
        if op.primitive is primitives.constant:
            constants.add(placement.buffers[placement.layouts[op.output].buffer].name, op.attributes["value"])
    writing = Writing(placement)
    instructions: list[schema.AnyInstruction] = []
    for op in program.order:
        writing.common = {"origin": origins.numbers(op.origins)}
        if op.when is not None:
            writing.common["when"] = placement.layouts[op.when].buffer
        instructions += EMITTERS[op.primitive](writing, op)
    placeholders = dict.fromkeys([*program.feeds, *(op.output for op in leaves if _is_fed(op))])
    return schema.Program(
        name=program.name,
        dimensions=tuple(sorted(names_of(size for value in placeholders for size in value.shape))),
        feeds=tuple(_feed(value, placement) for value in placeholders),
        fetches=tuple(_fetch(name, value, writing) for name, value in program.fetches.items()),
        buffers=tuple(placement.buffers),
        instructions=tuple(instructions),
        slots=extents(placement.slots),
        lower_bound=extents(placement.lower_bound),
    )


def _is_fed(op: Op) -> bool:
    return op.primitive is primitives.placeholder


def _feed(value: Value, placement: Placement) -> schema.Feed:
    op = value.op
    return schema.Feed(
        name=op.attributes["name"],
        dtype=dtypes.NAMES[value.dtype],
        shape=extents(value.shape),
        buffer=placement.layouts[value].buffer,
        location=op.origins[0].location if op.origins else "",
    )


def _fetch(name: str, value: Value, writing: Writing) -> schema.Fetch:
    return schema.Fetch(
        name=name, dtype=value.dtype.name, shape=extents(value.shape), source=writing.access(value)
    )
