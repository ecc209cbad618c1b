"""Finds the structural errors that no single op shows, with the user's lines in the message."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from lazyflow.compiler.graph import Graph, Op, Program, Value, Variable
from lazyflow.compiler.primitives import placeholder
from lazyflow.compiler.rules import Type, show
from lazyflow.runtime import dtypes
from lazyflow.runtime.dimensions import Dimension, Shape, Size, at_least, names_of
from lazyflow.runtime.dtypes import DType
from lazyflow.runtime.errors import GraphError, ShapeError, message

INIT = "init"  # the program that gives variables their drawn or computed initial values
LONGEST_NAME = 255


def validate(graph: Graph) -> Graph:
    """Refuse a graph that is not well formed; a graph that is comes back as it is.

    Types were checked where each op was made. Here: names that collide or cannot be shown, programs that do
    nothing, two assignments of a variable in one program, placeholders of one name that differ, dimensions
    that no feed of a program binds, guards that are no bool scalar, updates that do not fit their body.

    Raises:
        ShapeError: for a dimension that a run could not know.
        GraphError: for everything else.

    >>> from lazyflow.compiler.text import from_text
    >>> validate(from_text('''
    ...     %0 = size size=batch : int64[]
    ...     fetch rows = %0'''))
    Traceback (most recent call last):
    lazyflow.ShapeError: program 'main': dimension 'batch' is an axis of none of its feeds
      expected  a feed with "batch" as an axis of its own; the feeds are: none
    """
    _check_variables(graph.variables)
    if not graph.programs:
        raise GraphError(f"graph {graph.name!r} has no program: nothing would run")
    for program in graph.programs.values():
        ops = graph.reachable([program])
        _check_program(program)
        _check_feeds(program, [op for op in ops if op.primitive is placeholder])
        _check_dimensions(program, ops)
    _check_updates([op for program in graph.programs.values() for op in program.effects])
    return graph


def _made(*ops: Op) -> dict[str, str]:
    """The rows of a message that name the lines of ops."""
    labels = ("made",) if len(ops) == 1 else ("first", "second")
    places = zip(labels, map(_location, ops), strict=True)
    return {label: f"at {place}" for label, place in places if place}


def _location(op: Op) -> str:
    return op.origins[0].location if op.origins else ""


def _check_name(what: str, name: str, location: str = "") -> None:
    if not name or len(name) > LONGEST_NAME or not name.isprintable() or name != name.strip():
        expected = f"1 to {LONGEST_NAME} printable characters, no space at either end"
        made = {"made": f"at {location}"} if location else {}
        raise GraphError(message(f"{what}: {name!r} cannot be a name", **made, expected=expected))


def _check_variables(variables: Iterable[Variable]) -> None:
    seen: dict[str, Variable] = {}
    for each in variables:
        _check_name("variable", each.name, each.location)
        first = seen.setdefault(each.name, each)
        if first is not each:
            rows = {"first": f"made at {first.location}", "second": f"made at {each.location}"}
            hint = "give the variables, their modules or their optimizers different names"
            raise GraphError(message(f"two variables are named {each.name!r}", **rows, hint=hint))


def _check_program(program: Program) -> None:
    _check_name("program", program.name)
    if not program.roots():
        hint = "fetch a Tensor, assign a variable, or leave the program out"
        raise GraphError(message(f"program {program.name!r} has neither fetches nor effects", hint=hint))
    for name, value in program.fetches.items():
        _check_name("fetch", name, _location(value.op))
    assigned: dict[Variable, Op] = {}
    for op in program.effects:
        for each in op.assigned:
            first = assigned.setdefault(each, op)
            if first is not op:
                headline = f"program {program.name!r}: variable {each.name!r} is assigned twice"
                hint = "assign it once; to choose between values, use where"
                raise GraphError(message(headline, **_made(first, op), hint=hint))
        if op.when is not None and op.when.type != Type((), dtypes.bool_):
            headline = f"{op.primitive.name}: when is {op.when.type}"
            raise GraphError(message(headline, expected="a bool scalar", **_made(op)))


def _check_feeds(program: Program, placeholders: Sequence[Op]) -> None:
    seen: dict[str, Op] = {}
    for op in placeholders:
        name = op.attributes["name"]
        _check_name("placeholder", name, _location(op))
        if program.name == INIT:
            headline = f"placeholder {name!r}: an initial value depends on it"
            hint = "initial values are made before anything is fed; assign the variable in a program instead"
            raise GraphError(message(headline, **_made(op), hint=hint))
        first = seen.setdefault(name, op)
        if first.output.type != op.output.type:
            headline = f"placeholder {name!r} is {first.output.type} and {op.output.type}"
            hint = "give one of them another name"
            raise GraphError(message(headline, **_made(first, op), hint=hint))
        for axis, size in enumerate(op.output.shape):
            if not at_least(size, 1):
                headline = f"placeholder {name!r}: axis {axis} of {show(op.output.shape)} can be less than 1"
                raise ShapeError(message(headline, **_made(op)))


def _check_dimensions(program: Program, ops: Sequence[Op]) -> None:
    """Every name that the program's sizes mention must be an axis of its own of one of its feeds."""
    users: dict[Shape, Op] = {}
    feeds: dict[str, Value] = {}
    for op in ops:
        if op.primitive is placeholder:
            feeds[op.attributes["name"]] = op.output
        for value in op.outputs:
            users.setdefault(value.shape, op)
        if "size" in op.attributes:
            users.setdefault((op.attributes["size"],), op)
    bare = {str(size) for value in feeds.values() for size in value.shape if _is_bare(size)}
    for shape, op in users.items():
        for name in sorted(names_of(shape) - bare):
            known = ", ".join(f"{feed} {show(value.shape)}" for feed, value in feeds.items())
            raise ShapeError(
                message(
                    f"program {program.name!r}: dimension {name!r} is an axis of none of its feeds",
                    expected=f'a feed with "{name}" as an axis of its own; the feeds are: {known or "none"}',
                    **_made(op),
                )
            )


def _is_bare(size: Size) -> bool:
    return isinstance(size, Dimension) and str(size) in size.names


class _Body(NamedTuple):
    """What an update is checked against: its body's arguments, and the dtypes of the results."""

    dtypes: list[DType]
    ranks: list[int]
    results: list[DType]
    fit: set[tuple[Value, ...]]  # columns that were found to be arguments of it


def _check_updates(effects: Iterable[Op]) -> None:
    bodies: dict[Graph, _Body] = {}
    for op in effects:
        body = op.attributes.get("body")
        if not isinstance(body, Graph):
            continue
        if body not in bodies:
            bodies[body] = _signature(body)
        fault = _fault(op, bodies[body])
        if fault is not None:
            names = ", ".join(each.name for each in op.assigned)
            raise GraphError(message(f"update of {names} by {body.name!r}: {fault}", **_made(op)))


def _signature(body: Graph) -> _Body:
    if list(body.programs) != ["update"] or body.variables or any(op.primitive.effect for op in body.ops):
        raise GraphError(f"body {body.name!r}: expected one program, update, without variables and effects")
    leaves = [op for op in body.ops if op.primitive is placeholder]
    if len({op.attributes["name"] for op in leaves}) != len(leaves):
        raise GraphError(f"body {body.name!r}: two placeholders have one name")
    results = [value.dtype for value in body.programs["update"].fetches.values()]
    return _Body([op.output.dtype for op in leaves], [len(op.output.shape) for op in leaves], results, set())


def _fault(op: Op, body: _Body) -> str | None:
    """What of an update does not fit its body."""
    variables, count = op.assigned, op.attributes["elements"]
    elements, group = op.inputs[:count], op.inputs[count : count + 1]
    columns = op.inputs[count + 1 : len(op.inputs) - bool(op.attributes["guarded"])]
    own = [v.dtype for v in variables] + [value.dtype for value in elements]
    taken, given = len(body.dtypes), len(own) + len(columns)
    if taken != given:
        return f"takes {taken} arguments, got {given}"
    if body.dtypes[: len(own)] != own:
        return "arguments differ in dtype from its own"
    if body.results != own[: len(variables)]:
        return "next values differ in dtype from the variables"
    if len({v.shape for v in variables} | {value.shape for value in elements}) != 1:
        return "variables and elements differ in shape"
    if [value.type for value in group] != [Type((), dtypes.int32)]:
        return "its group is no int32 scalar"
    if columns in body.fit:  # as in most updates: those of an optimizer share them
        return None
    if body.dtypes[len(own) :] != [value.dtype for value in columns]:
        return "arguments differ in dtype from its own"
    if any(len(value.shape) != 1 for value in columns) or any(body.ranks[len(own) :]):
        return "its columns are not of rank 1"
    body.fit.add(columns)
    return None
