"""Gradients: the ops of a loss walked in reverse, each appending what its primitive's rule says.

A gradient flows along values of floating types only, and stops at ``lf.stop_gradient``.
The walk is a loop over the graph's list of ops, so depth costs no stack; a rule is asked only for the inputs
that lead to a wanted tensor.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import overload

from lazyflow.append import append
from lazyflow.compiler import primitives
from lazyflow.compiler.graph import Op, Value
from lazyflow.compiler.graph import Variable as StoredValue
from lazyflow.compiler.rules import show
from lazyflow.context import GraphContext, current_graph
from lazyflow.location import user_line
from lazyflow.ops import indexing, linalg, printing, random, slicing  # noqa: F401, with all that they import
from lazyflow.ops.function import RULES, Gradient, function, number
from lazyflow.ops.joining import joined, padded_axis
from lazyflow.ops.reduction import summed_to
from lazyflow.ops.shaping import broadcast_to
from lazyflow.runtime import dtypes
from lazyflow.runtime.collector import uncollected
from lazyflow.runtime.errors import ArgumentTypeError, GradientError, GraphError, message
from lazyflow.tensor import Tensor


@overload
def gradients(loss: Tensor, tensors: Tensor, seed: Tensor | None = None) -> Tensor: ...
@overload
def gradients(loss: Tensor, tensors: Sequence[Tensor], seed: Tensor | None = None) -> tuple[Tensor, ...]: ...


def gradients(
    loss: Tensor, tensors: Tensor | Sequence[Tensor], seed: Tensor | None = None
) -> Tensor | tuple[Tensor, ...]:
    """The derivatives of a scalar by tensors that it depends on. Pure: legal anywhere in an open graph.

    Args:
        loss: Floating scalar; of any shape where ``seed`` is given.
        tensors: One Tensor, or several; of floating types.
        seed: The gradient by ``loss`` itself, of its shape and dtype; 1 unless given.

    Returns:
        For each tensor a Tensor of its shape and dtype; a tuple where several were given.

    Raises:
        GradientError: if the loss is no floating scalar, or does not depend on one of the tensors through
            floating values.

    Example:
        >>> import lazyflow as lf
        >>> with lf.Graph():
        ...     x = lf.placeholder("x", ("batch", 3))
        ...     (dx,) = lf.gradients(lf.sum(x * x), [x])
        >>> dx.shape, dx.dtype.name
        ((batch, 3), 'float32')
    """
    graph = _check_loss(loss, "gradients", seed)
    wanted = (tensors,) if isinstance(tensors, Tensor) else tuple(tensors)
    for tensor in wanted:
        _check_wanted(tensor, graph)
    sources = [tensor.value for tensor in wanted]
    walk = _Walk(loss, sources)
    for tensor in wanted:
        if tensor.value not in walk.reached:
            raise GradientError(_unreached(loss, tensor))
    found = walk.run(seed)
    result = tuple(Tensor(graph, found[source]) for source in sources)
    return result[0] if isinstance(tensors, Tensor) else result


@function
def backward(loss: Tensor) -> None:
    """Append the gradients of a scalar by every Parameter that it depends on to the open program.

    Two calls in one program add. ``program.gradients[parameter]`` is the sum; ``optimizer.step()`` takes it.

    Args:
        loss: Floating scalar.

    Raises:
        GraphError: outside of a program; if optimizers took the gradients of all these parameters already.
        GradientError: if the loss is no floating scalar, or depends on no Parameter.
    """
    graph = _check_loss(loss, "backward", None)
    program = graph.program_for("loss.backward()")
    gathered = program.gradient_values
    stored = _trainable(loss)
    if not stored:
        raise GradientError(
            message(
                "backward: the loss depends on no Parameter",
                loss=loss.describe(),
                here=f"at {user_line()}",
                hint="lf.Parameter makes one; lf.gradients differentiates by any Tensor",
            )
        )
    taken = [program.taken_at.get(variable) for variable in stored.values()]
    if all(taken):
        raise GraphError(
            message(
                f"backward: no step of program {program.ir.name!r} would see these gradients",
                loss=loss.describe(),
                step=f"at {taken[0]}",
                here=f"at {user_line()}",
                hint="call loss.backward() before optimizer.step()",
            )
        )
    with uncollected():
        found = _Walk(loss, list(stored)).run(None)
    for source, variable in stored.items():
        known = gathered.get(variable)
        new = found[source]
        gathered[variable] = new if known is None else _sum(graph, known, new)


class _Walk:
    """The ops between a loss and the values that it is differentiated by."""

    def __init__(self, loss: Tensor, sources: Iterable[Value]) -> None:
        self.graph = loss.graph
        self.loss = loss.value
        self.sources = dict.fromkeys(sources)  # in order, which decides that of the ops
        ops = _ancestors(self.graph, self.loss)
        self.reached: set[Value] = set()  # the values on the way, the sources included
        self.path: list[Op] = []
        for op in ops:
            if op.outputs and op.output in self.sources:
                self.reached.add(op.output)
            if _passes(op, self.graph) and any(value in self.reached for value in op.inputs):
                self.reached.add(op.output)
                self.path.append(op)

    def run(self, seed: Tensor | None) -> dict[Value, Value]:
        """Append the gradient ops; returns the gradient of each source that is reached."""
        found = _Gathered(self.graph)
        pinned = self.graph.pinned
        try:
            self._pin(self.loss.op)
            found.add(self.loss, self._seed(seed))
            for op in reversed(self.path):
                if op.output in found:
                    self._pin(op)
                    self._propagate(op, found)
            for source in self.sources:
                if source in self.reached and source not in found:
                    self._pin(source.op)
                    found.add(source, self._zeros(source))
            return {source: found.total(source) for source in self.sources if source in found}
        finally:
            self.graph.pinned = pinned

    def _pin(self, op: Op) -> None:
        name, location = op.origins[0]
        self.graph.pin(f"{name}/grad", location)

    def _seed(self, seed: Tensor | None) -> Value:
        return (number(1.0, self.loss.dtype) if seed is None else seed).value

    def _zeros(self, value: Value) -> Value:
        return broadcast_to(number(0.0, value.dtype), value.shape).value

    def _propagate(self, op: Op, found: _Gathered) -> None:
        graph, output = self.graph, op.output
        rule = RULES[op.primitive]
        if rule is None:
            return
        dy = Tensor(graph, found.total(output))
        if output not in self.sources:
            found.drop(output)
        inputs = [Tensor(graph, value) for value in op.inputs]
        for value, gradient in zip(op.inputs, rule(dy, Tensor(graph, output), *inputs), strict=True):
            if gradient is None or value not in self.reached:
                continue
            found.add(value, summed_to(_made(gradient), value.shape).value)


class _Gathered:
    """The gradients that have come to each value: their sum, and those of parts of it apart."""

    def __init__(self, graph: GraphContext) -> None:
        self.graph = graph
        self._sums: dict[Value, Value] = {}
        self._parts: dict[Value, list[Tensor]] = {}

    def __contains__(self, value: Value) -> bool:
        return value in self._sums or value in self._parts

    def add(self, value: Value, gradient: Value) -> None:
        """One more gradient has come."""
        tensor = Tensor(self.graph, gradient)
        if padded_axis(tensor) is not None:
            self._parts.setdefault(value, []).append(tensor)
            return
        known = self._sums.get(value)
        self._sums[value] = gradient if known is None else _sum(self.graph, known, gradient)

    def total(self, value: Value) -> Value:
        """The sum of all that have come."""
        for tensor in joined(self._parts.pop(value, ())):
            known = self._sums.get(value)
            self._sums[value] = tensor.value if known is None else _sum(self.graph, known, tensor.value)
        return self._sums[value]

    def drop(self, value: Value) -> None:
        """Forget a value whose gradient went on."""
        del self._sums[value]


def _made(gradient: Gradient) -> Tensor:
    made = gradient() if callable(gradient) else gradient
    if made is None:
        raise GradientError("gradient: a rule made None")
    return made


def _sum(graph: GraphContext, a: Value, b: Value) -> Value:
    return append(primitives.add, Tensor(graph, a), Tensor(graph, b)).value


def _passes(op: Op, graph: GraphContext) -> bool:
    """Whether a gradient flows through the op."""
    if RULES.get(op.primitive) is None or op.output.dtype not in dtypes.FLOATING:
        return False
    return op.output not in graph.shared.get("stopped", ())


def _ancestors(graph: GraphContext, loss: Value) -> list[Op]:
    """The ops that the loss depends on through floating values, in the graph's order."""
    seen = {loss.op}
    stack = [loss.op]
    while stack:
        op = stack.pop()
        for value in op.inputs if _passes(op, graph) else ():
            if value.op not in seen and value.dtype in dtypes.FLOATING:
                seen.add(value.op)
                stack.append(value.op)
    return [op for op in graph.ir.ops if op in seen]


def _trainable(loss: Tensor) -> dict[Value, StoredValue]:
    """The Parameters that the loss depends on, by their values, in the graph's order."""
    ops = _ancestors(loss.graph, loss.value)
    read = [op for op in ops if op.primitive is primitives.variable and op.attributes["variable"].trainable]
    return {op.output: op.attributes["variable"] for op in read}


# --- what is refused --------------------------------------------------------------------------------------


def _check_loss(loss: Tensor, call: str, seed: Tensor | None) -> GraphContext:
    if not isinstance(loss, Tensor):
        raise ArgumentTypeError(message(f"{call}: {loss!r} is no Tensor", here=f"at {user_line()}"))
    _ = loss.value
    rows = {"loss": loss.describe(), "here": f"at {user_line()}"}
    if current_graph(call) is not loss.graph:
        raise GraphError(message(f"{call}: the loss is a Tensor of another graph", **rows))
    if not dtypes.is_floating(loss.dtype):
        text = f"{call}: the loss is {loss.dtype.name}; only floating types have gradients"
        raise GradientError(message(text, **rows))
    if seed is None and loss.shape != ():
        hint = "lf.mean(loss), or lf.sum(loss)"
        raise GradientError(message(f"{call}: the loss is {show(loss.shape)}, no scalar", **rows, hint=hint))
    if seed is not None and (seed.shape, seed.dtype) != (loss.shape, loss.dtype):
        text = f"{call}: the seed is {seed.value.type}, the loss {loss.value.type}"
        raise GradientError(message(text, **rows, seed=seed.describe()))
    return loss.graph


def _check_wanted(tensor: Tensor, graph: GraphContext) -> None:
    if not isinstance(tensor, Tensor):
        raise ArgumentTypeError(message(f"gradients: {tensor!r} is no Tensor", here=f"at {user_line()}"))
    _ = tensor.value
    if tensor.graph is not graph:
        text = f"gradients: {tensor.name!r} is a Tensor of another graph"
        raise GraphError(message(text, tensor=tensor.describe(), here=f"at {user_line()}"))
    if not dtypes.is_floating(tensor.dtype):
        text = f"gradients: {tensor.name!r} is {tensor.dtype.name}; only floating types have gradients"
        raise GradientError(message(text, tensor=tensor.describe(), here=f"at {user_line()}"))


def _unreached(loss: Tensor, tensor: Tensor) -> str:
    return message(
        f"gradients: the loss does not depend on {tensor.name!r}",
        loss=loss.describe(),
        tensor=tensor.describe(),
        here=f"at {user_line()}",
        expected="a path of floating values: none leads through comparisons, integers or lf.stop_gradient",
    )
