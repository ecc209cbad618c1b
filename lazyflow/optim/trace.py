"""Traces an update rule into a body that all parameters of one structure and dtype share.

The rule runs once, on a parameter of shape (n,) and on scalars. What follows from scalars alone is hoisted
out of it: the program computes it once for all groups, on columns with one row per group, and the body that
stays does element work only.

A rule that looks at the shape runs once for each shape, on a parameter of that shape. Its body is no kernel:
it may multiply matrices, and ``updates`` makes its ops a part of the program.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from lazyflow.append import placeholder
from lazyflow.compiler import graph as ir
from lazyflow.compiler import primitives
from lazyflow.compiler.graph import Op, Value, make
from lazyflow.compiler.rules import show
from lazyflow.context import GraphContext, opened
from lazyflow.location import user_line
from lazyflow.optim.form import Form, Scalars
from lazyflow.runtime.dtypes import DType, float64
from lazyflow.runtime.errors import ArgumentError, ArgumentTypeError, DTypeError, ShapeError, message
from lazyflow.tensor import Tensor

_PREFIX = "h/"  # of the names of scalars, so that a state may be called like one
_TAKEN = ("p", "g", "group", "accumulated")  # names that no state can have

Next: TypeAlias = tuple[Tensor, Sequence[Tensor]]


class Kept(NamedTuple):
    """How a state variable starts.

    Attributes:
        initial: Its first number.
        shape: Its shape; None: that of the parameter.
    """

    initial: float = 0.0
    shape: tuple[int, ...] | None = None


@dataclass(frozen=True, eq=False)
class Rule:
    """A traced update rule.

    Attributes:
        body: What update ops point to: placeholders for the parameter, its state, the gradient and the
            columns, in this order; the program "update" fetches the next values.
        state: How each state variable starts, by name.
        shape: The shape that the rule looks at; None: it works on elements, and update ops point to its body.
        columns: What each column holds, as a value of the traced graph.
        traced: The ops of that graph from which the columns follow, in order.
    """

    body: ir.Graph
    state: Mapping[str, Kept]
    shape: tuple[int, ...] | None
    columns: tuple[Value, ...]
    traced: tuple[Op, ...]

    @property
    def scalars(self) -> tuple[str, ...]:
        """The names of the scalars from which the columns follow."""
        leaves = [op for op in self.traced if op.primitive is primitives.placeholder]
        return tuple(op.attributes["name"].removeprefix(_PREFIX) for op in leaves)

    def hoisted(self, graph: GraphContext, columns: Mapping[str, Tensor]) -> list[Value]:
        """Append what was hoisted, for all groups at once.

        Args:
            graph: The graph in which the parameters are updated.
            columns: A float64 tensor of shape (groups,) for each name in ``scalars``.

        Returns:
            One value of shape (groups,) per column of the body.
        """
        values: dict[Value, Value] = {}
        for op in self.traced:
            if op.primitive is primitives.placeholder:
                values[op.output] = columns[op.attributes["name"].removeprefix(_PREFIX)].value
            else:
                inputs = [values[value] for value in op.inputs]
                new = make(op.primitive, inputs, op.attributes, op.origins)
                values[op.output] = graph.append(new).output
        return [values[value] for value in self.columns]


def trace(
    kind: str,
    dtype: DType,
    state: Callable[[Scalars], Mapping[str, Kept]],
    update: Callable[[Tensor, Tensor, tuple[Tensor, ...], Scalars], Next],
    shape: tuple[int, ...] | None = None,
    form: Form | None = None,
) -> Rule:
    """Trace an update rule for parameters of one dtype, or of one dtype and shape.

    Args:
        kind: The optimizer's class, for names and messages.
        dtype: The dtype of parameter, gradient and state.
        state: Gives how each state variable starts, by name.
        update: From the parameter, its gradient and its state, of shape (n,), and the scalars by name,
            float64 of rank 0, to the next values.
        shape: In place of (n,), where the rule looks at it; () is traced as (1,).
        form: What stands around the rule; None: nothing, and the gradient is the one element.

    Raises:
        ShapeError, DTypeError: if a next value has not the shape and dtype of what it follows.
    """
    context = GraphContext(kind.lower())
    context.is_rule = True
    scalars = _ScalarPlaceholders()
    with opened(context):
        initial = dict(state(scalars))
        _check_names(kind, initial, form)
        whole = ("n",) if shape is None else shape or (1,)  # of rank 0, scalars would not be weak beside it
        shapes = {name: whole if kept.shape is None else kept.shape for name, kept in initial.items()}
        before = {name: placeholder(name, each, dtype) for name, each in {"p": whole, **shapes}.items()}
        average = {form.average: placeholder(form.average, whole, dtype)} if form and form.average else {}
        elements = [placeholder(name, whole, dtype) for name in (form.elements if form else ("g",))]
        p, *kept = before.values()
        g = form.total(elements, scalars) if form else elements[0]
        results = _checked(kind, update(p, g, tuple(kept), scalars), before)
        before |= average
        if form:
            results = form.finished(tuple(before.values()), results, scalars)
    given = [tensor.value for tensor in (*before.values(), *elements)]
    fetches = {name: tensor.value for name, tensor in zip(before, results, strict=True)}
    body, columns, traced = _split(context.ir, given, fetches)
    return Rule(body, {**initial, **dict.fromkeys(average, Kept())}, shape, columns, traced)


def _check_names(kind: str, state: Mapping[str, Kept], form: Form | None) -> None:
    taken = (*_TAKEN, form.average) if form and form.average else _TAKEN
    for name in (name for name in taken if name in state):
        raise ArgumentError(message(f"{kind}.state: {name!r} is no name of a state", taken=", ".join(taken)))


class _ScalarPlaceholders(dict[str, Tensor]):
    """The scalars of a rule by name, each made when the rule first asks for it."""

    def __call__(self, name: str) -> Tensor:
        if name not in self:
            self[name] = placeholder(_PREFIX + name, (), float64)
        return self[name]


def _checked(kind: str, after: object, before: Mapping[str, Tensor]) -> list[Tensor]:
    expected = f"the next parameter and a tuple of {len(before) - 1} next states"
    if not isinstance(after, tuple) or len(after) != 2 or not isinstance(after[1], tuple | list):
        raise ArgumentTypeError(message(f"{kind}.update returned {after!r}", expected=expected))
    results = [after[0], *after[1]]
    if len(results) != len(before):
        headline = f"{kind}.update returned {len(results) - 1} next states"
        raise ArgumentTypeError(message(headline, expected=f"{len(before) - 1}: {', '.join(before)[3:]}"))
    for (name, old), new in zip(before.items(), results, strict=True):
        if not isinstance(new, Tensor):
            raise ArgumentTypeError(message(f"{kind}.update: next {name} is {new!r}", expected="a Tensor"))
        if new.shape != old.shape:
            headline = f"{kind}.update: next {name} has shape {show(new.shape)}, not {show(old.shape)}"
            raise ShapeError(message(headline, made=f"at {new.location}", here=f"at {user_line()}"))
        if new.dtype != old.dtype:
            headline = f"{kind}.update: next {name} is {new.dtype.name}, not {old.dtype.name}"
            raise DTypeError(message(headline, made=f"at {new.location}", here=f"at {user_line()}"))
    return results


# --- hoisting ---------------------------------------------------------------------------------------------


def _split(
    traced: ir.Graph, elements: Sequence[Value], results: Mapping[str, Value]
) -> tuple[ir.Graph, tuple[Value, ...], tuple[Op, ...]]:
    """Split what was traced: the body, the columns that it reads, and the ops from which they follow."""
    traced.programs["update"] = ir.Program("update", fetches=dict(results))
    ops = traced.reachable()
    scalar = _scalar_values(ops, elements)
    inner = [op for op in ops if op.output not in scalar and not op.primitive.leaf]
    columns = dict.fromkeys(value for op in inner for value in op.inputs if value in scalar)
    builder = _Body(traced.name)
    for value in elements:
        builder.add(value.op)
    for name, value in zip(_column_names(columns), columns, strict=True):
        builder.add_placeholder(name, value)
    for op in _behind(ops, results.values(), columns):
        if op.output not in builder.values:
            builder.add(op)
    body = builder.graph
    fetches = {name: builder.values[value] for name, value in results.items()}
    body.programs["update"] = ir.Program("update", fetches=fetches)
    return body, tuple(columns), tuple(_behind(ops, columns))


def _scalar_values(ops: Sequence[Op], elements: Collection[Value]) -> set[Value]:
    """The values of rank 0 that follow from the scalars of a group alone, element by element."""
    scalar: set[Value] = set()
    constant: set[Value] = set()
    for op in ops:
        if op.output in elements:
            continue  # also where a parameter has one element
        if op.primitive is primitives.placeholder and op.output.shape == ():
            scalar.add(op.output)
        elif op.primitive is primitives.constant and op.output.shape == ():
            constant.add(op.output)
        elif op.primitive.elementwise and op.inputs and all(v in scalar or v in constant for v in op.inputs):
            (scalar if any(v in scalar for v in op.inputs) else constant).add(op.output)
    return scalar


def _behind(ops: Sequence[Op], values: Iterable[Value], given: Collection[Value] = ()) -> list[Op]:
    """The ops from which the values follow, in order, where some values are given."""
    needed = {value.op for value in values}
    for op in reversed(ops):
        if op in needed:
            needed.update(value.op for value in op.inputs if value not in given)
    return [op for op in ops if op in needed]


def _column_names(columns: Mapping[Value, Any]) -> list[str]:
    """The name of the scalar that a column is, cast or not; others are numbered."""
    names: list[str] = []
    for number, value in enumerate(columns):
        op = value.op
        while op.primitive is primitives.cast:
            op = op.inputs[0].op
        name = op.attributes["name"] if op.primitive is primitives.placeholder else f"{_PREFIX}{number}"
        names.append(name if name not in names else f"{_PREFIX}{number}")
    return names


class _Body:
    """The body being built, and its value for each value of the traced graph."""

    def __init__(self, name: str) -> None:
        self.graph = ir.Graph(name)
        self.values: dict[Value, Value] = {}

    def add(self, op: Op) -> None:
        """Take an op over."""
        inputs = [self.values[value] for value in op.inputs]
        new = self.graph.append(make(op.primitive, inputs, op.attributes, op.origins))
        self.values[op.output] = new.output

    def add_placeholder(self, name: str, value: Value) -> None:
        """Let a placeholder stand for a value."""
        attributes = {"name": name, "shape": value.shape, "dtype": value.dtype}
        op = make(primitives.placeholder, (), attributes, value.op.origins)
        self.values[value] = self.graph.append(op).output
