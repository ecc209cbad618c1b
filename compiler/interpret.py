"""Evaluates a graph op by op: the oracle of the tests, of ``fold_constants`` and of learning-rate curves.

Scalar primitives and reductions compute what their rows of :mod:`lazyflow.runtime.scalars` say; what the
others compute stands here. Nothing is fused, placed or reused, so that each line can be checked by eye.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lazyflow.compiler.graph import Graph, Op, Variable
from lazyflow.compiler.primitives import placeholder
from lazyflow.compiler.rules import show
from lazyflow.runtime import dimensions, dtypes
from lazyflow.runtime.dimensions import Dimension, Size
from lazyflow.runtime.dtypes import DType
from lazyflow.runtime.errors import FeedError, GraphError, OutOfRangeError, message
from lazyflow.runtime.scalars import cast, evaluate_body, stored
from lazyflow.runtime.schema import Call

Array: TypeAlias = NDArray[Any]
Arrays: TypeAlias = tuple[Array, ...]
State: TypeAlias = dict[str, Array]


def interpret(
    graph: Graph,
    program: str,
    feeds: Mapping[str, Any] | None = None,
    state: Mapping[str, Any] | None = None,
    precision: str | None = None,
) -> tuple[State, State]:
    """Run a program of a graph once.

    Args:
        graph: Any graph, between any two passes.
        program: The name of one of its programs.
        feeds: An array for each placeholder that the program reaches; others are ignored.
        state: The variables' values before the run; one that is missing has its initial number.
        precision: None, or "float64" to keep and compute every floating value in float64.

    Returns:
        The fetches by name, and the values of all variables after the run.

    Raises:
        FeedError: if a feed is missing or has another shape than its placeholder.
        OutOfRangeError: if an index lies outside of its axis.

    >>> from lazyflow.compiler.text import from_text
    >>> graph = from_text('''
    ...     %0 = variable name=steps : int64[]
    ...     %1 = constant value=1 : int64[]
    ...     %2 = add %0 %1 : int64[]
    ...     assign name=steps %2
    ...     fetch before = %0''')
    >>> interpret(graph, "main", state={"steps": 4})
    ({'before': array(4)}, {'steps': array(5)})
    """
    if program not in graph.programs:
        raise GraphError(f"interpret: {graph.name!r} has no program {program!r}, only {list(graph.programs)}")
    entry = graph.programs[program]
    ops = graph.reachable([entry])
    run = Run(_sizes(ops, feeds or {}), precision, feeds or {})
    for variable in graph.variables:
        value = (state or {}).get(variable.name, variable.initial)
        run.before[variable] = np.broadcast_to(run.array(value, variable.dtype), variable.shape)
    values: dict[Any, Array] = {}
    after = dict(run.before)
    with np.errstate(all="ignore"):
        for op in ops:
            results = run.evaluate(op, [values[value] for value in op.inputs])
            values.update(zip(op.outputs, results, strict=True))
            after.update(zip(op.assigned, results, strict=False))
    fetches = {name: np.array(values[value]) for name, value in entry.fetches.items()}
    return fetches, {variable.name: np.array(value) for variable, value in after.items()}


def evaluate(
    op: Op, inputs: Sequence[Array], sizes: Mapping[str, int], precision: str | None = None
) -> Arrays:
    """The outputs of one op that neither reads a placeholder or variable nor assigns one.

    Args:
        op: The op.
        inputs: An array for each of its inputs.
        sizes: The values of the dimension names in its types.
        precision: None, or "float64".
    """
    with np.errstate(all="ignore"):
        return Run(sizes, precision).evaluate(op, inputs)


@dataclass
class Run:
    """What ops are evaluated in: the sizes of dimensions, the feeds, and the variables before the run."""

    sizes: Mapping[str, int]
    precision: str | None
    feeds: Mapping[str, Any] = field(default_factory=dict)
    before: dict[Variable, Array] = field(default_factory=dict)

    def evaluate(self, op: Op, inputs: Sequence[Array]) -> Arrays:
        """The outputs of an op; those of an effect that does not happen are the values from before."""
        if op.when is not None:
            if not inputs[-1]:
                return tuple(self.before[variable] for variable in op.assigned)
            inputs = inputs[:-1]
        result = FUNCTIONS.get(op.primitive.name, _scalar)(op, inputs, self)
        return tuple(map(np.asarray, result if isinstance(result, tuple) else (result,)))

    def shape(self, shape: Iterable[Size]) -> tuple[int, ...]:
        """The extents of a shape."""
        return tuple(dimensions.evaluate(size, self.sizes) for size in shape)

    def array(self, value: Any, dtype: DType) -> Array:
        """The value as an array of the dtype in which this run keeps it."""
        return np.asarray(value).astype(stored(dtype, self.precision))


def _sizes(ops: Sequence[Op], feeds: Mapping[str, Any]) -> dict[str, int]:
    """The dimensions that the feeds bind, once all feeds are known to fit their placeholders."""
    sizes: dict[str, int] = {}
    given = [(op.output.shape, op.attributes["name"]) for op in ops if op.primitive is placeholder]
    for shape, name in given:
        if name not in feeds:
            raise FeedError(f"interpret: no feed for placeholder {name!r}")
        for size, extent in zip(shape, np.shape(feeds[name]), strict=False):
            if isinstance(size, Dimension) and str(size) in size.names:
                sizes.setdefault(str(size), extent)
    for shape, name in given:
        extents = np.shape(feeds[name])
        if extents != tuple(dimensions.evaluate(size, sizes) for size in shape):
            known = ", ".join(f"{key}={value}" for key, value in sizes.items())
            raise FeedError(f"interpret: {name} is {show(shape)} with {known or 'no names'}, got {extents}")
    return sizes


# --- what the primitives compute ----------------------------------------------------------------------------


def _scalar(op: Op, inputs: Sequence[Array], run: Run) -> Array:
    """A scalar primitive or a reduction, as a kernel of one call."""
    arity = len(inputs)
    call = Call(op=op.primitive.name, args=tuple(range(arity)), dtype=op.output.dtype.name)
    axes = op.attributes["axes"] if op.primitive.reduction else ()
    shape = run.shape(op.output.shape)
    if op.primitive.reduction:
        kept = [axis for axis in range(inputs[0].ndim) if axis not in axes]
        inputs = [inputs[0].transpose(*kept, *axes)]
    space = inputs[0].shape if op.primitive.reduction else shape
    arguments = [x.reshape((1,) * (len(space) - x.ndim) + x.shape) for x in inputs]
    results = evaluate_body(
        (call,),
        arguments,
        space=space,
        inner=len(axes),
        sizes=run.sizes,
        results=(arity,),
        precision=run.precision,
    )
    return results[0].reshape(shape) if op.primitive.reduction else np.broadcast_to(results[0], shape)


def _iota(op: Op, inputs: Sequence[Array], run: Run) -> Array:
    shape, axis = run.shape(op.output.shape), op.attributes["axis"]
    counted = np.arange(shape[axis]).reshape([-1 if i == axis else 1 for i in range(len(shape))])
    return np.broadcast_to(cast(counted, stored(op.output.dtype, run.precision)), shape)


def _position(op: Op, inputs: Sequence[Array], run: Run) -> Array:
    shape = run.shape(op.output.shape)
    return np.arange(math.prod(shape)).reshape(shape)


def _slice(op: Op, inputs: Sequence[Array], run: Run) -> Array:
    bounds = (op.attributes["starts"], run.shape(op.attributes["sizes"]), op.attributes["steps"])
    index = [start + step * np.arange(size) for start, size, step in zip(*bounds, strict=True)]
    return inputs[0][np.ix_(*index)]


def _pad(op: Op, inputs: Sequence[Array], run: Run) -> Array:
    widths = [*zip(op.attributes["low"], op.attributes["high"], strict=True)]
    out = np.full(run.shape(op.output.shape), op.attributes["value"], inputs[0].dtype)
    out[tuple(slice(low, low + n) for (low, _), n in zip(widths, inputs[0].shape, strict=True))] = inputs[0]
    return out


def _matmul(op: Op, inputs: Sequence[Array], run: Run) -> Array:
    a, b = (x.astype(np.float32) if x.dtype in dtypes.HALF else x for x in inputs)
    return run.array(np.matmul(a, b), op.output.dtype)


def _check(op: Op, index: Array, size: int) -> None:
    outside = index[(index < 0) | (index >= size)]
    if outside.size:
        name, location = op.origins[0] if op.origins else (op.primitive.name, None)
        headline = f"{name}: index {outside.flat[0]} is outside of its axis of {size} elements"
        raise OutOfRangeError(message(headline, made=location and f"at {location}"))


def _check_index(op: Op, inputs: Sequence[Array], run: Run) -> Array:
    _check(op, inputs[0], dimensions.evaluate(op.attributes["size"], run.sizes))
    return inputs[0]


def _gather(op: Op, inputs: Sequence[Array], run: Run) -> Array:
    (table, index), axis = inputs, op.attributes["axis"]
    _check(op, index, table.shape[axis])
    if op.attributes["along"]:
        return np.take_along_axis(table, index.astype(np.intp), axis)
    return np.take(table, index.astype(np.intp), axis)


def _scatter_add(op: Op, inputs: Sequence[Array], run: Run) -> Array:
    (source, index), axis = inputs, op.attributes["axis"]
    shape = run.shape(op.output.shape)
    _check(op, index, shape[axis])
    positions = np.arange(int(np.prod(shape))).reshape(shape)  # where each element of the source goes
    if op.attributes["along"]:
        positions = np.take_along_axis(positions, index.astype(np.intp), axis)
    else:
        positions = np.take(positions, index.astype(np.intp), axis)
    total = np.zeros(int(np.prod(shape)), np.float32 if source.dtype in dtypes.HALF else source.dtype)
    np.add.at(total, positions.ravel(), source.ravel().astype(total.dtype))
    return run.array(total.reshape(shape), op.output.dtype)


def _update(op: Op, inputs: Sequence[Array], run: Run) -> Arrays:
    body, count = op.attributes["body"], op.attributes["elements"]
    tensors = [*(run.before[variable] for variable in op.assigned), *inputs[:count]]
    scalars = [column[_group(inputs[count], column)] for column in inputs[count + 1 :]]
    feeds = {}
    leaves = [each for each in body.ops if each.primitive is placeholder]
    for leaf, value in zip(leaves, [*tensors, *scalars], strict=True):
        static = all(isinstance(size, int) for size in leaf.output.shape)
        feeds[leaf.attributes["name"]] = value.reshape(leaf.output.shape if static else -1)
    results, _ = interpret(body, "update", feeds, precision=run.precision)
    pairs = zip(op.assigned, results.values(), strict=True)
    return tuple(value.reshape(variable.shape) for variable, value in pairs)


def _group(group: Array, column: Array) -> int:
    if not 0 <= group < len(column):
        raise OutOfRangeError(f"group index {group} is outside of the {len(column)} groups of its optimizer")
    return int(group)


def _kernel(op: Op, inputs: Sequence[Array], run: Run) -> Arrays:
    a, space = op.attributes, run.shape(op.attributes["space"])
    arguments = [_onto_space(x, axes) for x, axes in zip(inputs, a["maps"], strict=False)]
    results = evaluate_body(
        a["body"],
        arguments,
        space=space,
        inner=a["inner"],
        sizes=run.sizes,
        results=a["results"],
        precision=run.precision,
    )
    outputs = zip(results, a["maps"][len(inputs) :], op.outputs, strict=True)
    return tuple(_off_space(np.broadcast_to(r, space), axes, run.shape(o.shape)) for r, axes, o in outputs)


def _onto_space(x: Array, axes: Sequence[int]) -> Array:
    walked = [axis for axis in axes if axis >= 0]
    rest = [axis for axis in range(x.ndim) if axis not in walked]
    return x.transpose(*walked, *rest).reshape([x.shape[axis] if axis >= 0 else 1 for axis in axes])


def _off_space(x: Array, axes: Sequence[int], shape: tuple[int, ...]) -> Array:
    walked = x[tuple(slice(None) if axis >= 0 else 0 for axis in axes)]
    order = np.argsort([axis for axis in axes if axis >= 0])
    return walked.transpose(*order).reshape(shape)


def _update_batch(op: Op, inputs: Sequence[Array], run: Run) -> Arrays:
    a, columns = op.attributes, inputs[: op.attributes["columns"]]
    rest = iter(inputs[a["columns"] :])
    outputs: list[Array] = []
    for variables, size in a["segments"]:
        tensors = [
            *(run.before[variable] for variable in variables),
            *(next(rest) for _ in range(a["elements"])),
        ]
        group = next(rest)
        results = evaluate_body(
            a["body"],
            [*(x.reshape(-1) for x in tensors), *(column[_group(group, column)] for column in columns)],
            space=(size,),
            inner=1,
            sizes=run.sizes,
            results=a["results"],
            precision=run.precision,
        )
        pairs = zip(variables, results, strict=True)
        outputs.extend(np.broadcast_to(r, (size,)).reshape(variable.shape) for variable, r in pairs)
    return tuple(outputs)


# by the primitive's name; those not here are scalar functions and reductions
FUNCTIONS: dict[str, Callable[[Op, Sequence[Array], Run], Array | Arrays]] = {
    "constant": lambda op, inputs, run: run.array(op.attributes["value"], op.output.dtype),
    "placeholder": lambda op, inputs, run: run.array(run.feeds[op.attributes["name"]], op.output.dtype),
    "variable": lambda op, inputs, run: run.before[op.attributes["variable"]],
    "iota": _iota,
    "position": _position,
    "size": lambda op, inputs, run: np.asarray(dimensions.evaluate(op.attributes["size"], run.sizes)),
    "reshape": lambda op, inputs, run: inputs[0].reshape(run.shape(op.output.shape)),
    "transpose": lambda op, inputs, run: inputs[0].transpose(op.attributes["axes"]),
    "broadcast_to": lambda op, inputs, run: np.broadcast_to(inputs[0], run.shape(op.output.shape)),
    "slice": _slice,
    "concat": lambda op, inputs, run: np.concatenate(inputs, op.attributes["axis"]),
    "pad": _pad,
    "matmul": _matmul,
    "matmul_transposed": lambda op, inputs, run: _matmul(op, inputs, run).transpose(op.attributes["axes"]),
    "gather": _gather,
    "scatter_add": _scatter_add,
    "check_index": _check_index,
    "copy": lambda op, inputs, run: inputs[0].copy(),
    "assign": lambda op, inputs, run: inputs[0],
    "update": _update,
    "print": lambda op, inputs, run: (),
    "kernel": _kernel,
    "update_batch": _update_batch,
}
