"""Traces a schedule: calls it once for each outcome of its conditions, and joins the results with ``where``.

So a plain Python function of the step, with ``if step < 10``, ``min`` and ``max``, becomes ops of a graph.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from typing import Any, TypeAlias

import numpy as np

from lazyflow.append import constant, placeholder
from lazyflow.compiler import primitives
from lazyflow.compiler.graph import Value
from lazyflow.compiler.rules import show
from lazyflow.context import GraphContext, opened
from lazyflow.location import user_line
from lazyflow.ops.elementwise import cast, clip, where
from lazyflow.ops.indexing import take
from lazyflow.runtime.dtypes import bool_, float64, int64
from lazyflow.runtime.errors import ArgumentError, ArgumentTypeError, GraphError, SymbolicError, message
from lazyflow.tensor import Tensor, decide

MAX_PATHS = 64
TO_WRITE = (
    "lf.where(condition, a, b) in place of if, lf.cos and its like in place of math.cos, "
    "or a table: lf.tabulate(fn, steps=N)"
)

Schedule: TypeAlias = Callable[[Any], Any]


def trace(compute: Callable[[], object], what: str) -> Tensor:
    """The value of a pure function that may ask for the outcome of comparisons of Tensors.

    Args:
        compute: Called once for each path through its conditions; gives a number or a scalar Tensor.
        what: The function, for messages.

    Returns:
        Float64 scalar Tensor.

    Raises:
        SymbolicError: if there are more than 64 paths, or the number of a Tensor is asked for.
        ArgumentError: if a result is no number and no scalar Tensor.
    """
    return _Tracer(compute, what).explore(())


class _Tracer:
    def __init__(self, compute: Callable[[], object], what: str) -> None:
        self.compute = compute
        self.what = what
        self.paths = 0
        self.keys = _Keys()

    def explore(self, prefix: tuple[tuple[int, bool], ...]) -> Tensor:
        """The joined results of all paths that begin with these outcomes."""
        self.paths += 1
        if self.paths > MAX_PATHS:
            self.refuse_paths()
        path = _Path(self, prefix)
        token = decide.set(path.decide)
        try:
            result = self.compute()
        finally:
            decide.reset(token)
        joined = as_scalar(result, self.what)
        for place in range(len(path.asked) - 1, len(prefix) - 1, -1):
            taken = tuple((key, outcome) for key, _, outcome in path.asked[:place])
            key, condition, _ = path.asked[place]
            joined = where(condition, joined, self.explore((*taken, (key, False))))
        return joined

    def refuse_paths(self) -> None:
        raise SymbolicError(
            message(
                f"{self.what}: its conditions on the step have more than {MAX_PATHS} paths",
                expected=f"at most {MAX_PATHS}: each is traced, and joined with lf.where",
                here=f"at {user_line()}",
                hint=TO_WRITE,
            )
        )


class _Path:
    """One call: the outcomes that are given, and True for each condition that is new."""

    def __init__(self, tracer: _Tracer, prefix: Sequence[tuple[int, bool]]) -> None:
        self.tracer = tracer
        self.prefix = prefix
        self.asked: list[tuple[int, Tensor, bool]] = []
        self._known: dict[int, bool] = {}

    def decide(self, tensor: Tensor) -> bool:
        """The outcome of ``bool(tensor)`` on this path."""
        if tensor.shape != ():
            text = f"{self.tracer.what}: a condition has shape {show(tensor.shape)}; expected a scalar"
            raise SymbolicError(message(text, tensor=tensor.describe(), here=f"at {user_line()}"))
        condition = tensor if tensor.dtype == bool_ else tensor != 0
        key = self.tracer.keys.of(condition.value)
        if key in self._known:
            return self._known[key]
        place, outcome = len(self.asked), True
        if place < len(self.prefix):
            expected, outcome = self.prefix[place]
            self._check_pure(key == expected)
        elif place >= MAX_PATHS:
            self.tracer.refuse_paths()  # each condition adds a path: a loop may never end
        self.asked.append((key, condition, outcome))
        self._known[key] = outcome
        return outcome

    def _check_pure(self, same: bool) -> None:
        if not same:
            raise SymbolicError(
                message(
                    f"{self.tracer.what}: called again, it asks for another condition",
                    expected="a pure function of the step: it is called once for each outcome",
                    here=f"at {user_line()}",
                    hint="lf.tabulate(fn, steps=N) calls it once for each step",
                )
            )


class _Keys:
    """What values compute, numbered: equal conditions of two calls get one number."""

    def __init__(self) -> None:
        self._numbers: dict[Hashable, int] = {}
        self._keys: dict[Value, int] = {}

    def of(self, value: Value) -> int:
        """The same number for values that the same ops compute from the same leaves."""
        stack = [value]
        while stack:
            missing = [v for v in stack[-1].op.inputs if v not in self._keys]
            if missing:
                stack.extend(missing)
            else:
                known = stack.pop()
                self._keys[known] = self._numbers.setdefault(self._computation(known), len(self._numbers))
        return self._keys[value]

    def _computation(self, value: Value) -> Hashable:
        op = value.op
        if op.primitive is primitives.constant:
            array = op.attributes["value"]
            return ("constant", array.dtype.name, array.shape, array.tobytes())
        if op.primitive.leaf or op.primitive.effect:
            return value
        inputs = tuple(self._keys[v] for v in op.inputs)
        return (op.primitive.name, tuple(sorted(op.attributes.items())), inputs)


def as_scalar(result: object, what: str) -> Tensor:
    """What a schedule returned, as a float64 scalar.

    Raises:
        ArgumentTypeError: if it is neither a number nor a scalar Tensor.
        ArgumentError: if it is a number that is not finite.
    """
    if isinstance(result, Tensor):
        if result.shape == ():
            return cast(result, float64)
        text = f"{what}: returned a Tensor of shape {show(result.shape)}; expected a scalar"
        raise ArgumentTypeError(message(text, tensor=result.describe(), here=f"at {user_line()}"))
    return constant(finite(result, f"{what}: returned"), float64)


def try_out(function: Schedule, what: str) -> None:
    """Trace a function of the step in a graph of its own, so that what is wrong with it is found at once."""
    graph = GraphContext("trial")
    graph.is_rule = True  # a variable of the user's would be adopted by it
    with opened(graph), suppress(GraphError):  # it uses Tensors of the user's graph: traced there, later
        step = placeholder("step", (), float64)
        trace(lambda: function(step), what)


def finite(value: object, what: str, expected: str = "a number, or a scalar Tensor") -> float:
    """A finite number as a float.

    Args:
        value: What a function returned, say.
        what: What stands before the value in messages.
        expected: What else would be accepted, for messages.

    Raises:
        ArgumentTypeError: if it is no number.
        ArgumentError: if it is not finite.
    """
    if not isinstance(value, bool | int | float | np.bool_ | np.integer | np.floating):
        raise ArgumentTypeError(message(f"{what} {value!r}", expected=expected, here=f"at {user_line()}"))
    number = float(value)
    if not math.isfinite(number):
        text = message(f"{what} {value!r}", expected="a finite number", here=f"at {user_line()}")
        raise ArgumentError(text)
    return number


def tabulate(fn: Callable[[int], float], *, steps: int) -> Schedule:
    """A schedule that looks its value up in a table: for functions that need the step's number.

    Args:
        fn: From a step, a Python int, to a number; called once for each of the steps.
        steps: How many steps the table has, >= 1. Past them the last value holds.

    Returns:
        A function of the step, for LambdaLR and others. The table is a constant of the graph, and is exported
        with the plan.

    Raises:
        ArgumentError: if ``fn`` cannot be called or returns no finite number, or ``steps`` is out of range.

    Example:
        >>> import math
        >>> import lazyflow as lf
        >>> schedule = lf.tabulate(lambda step: math.cos(step / 100), steps=1000)
        >>> schedule(0), schedule(5000) == math.cos(9.99)
        (1.0, True)
    """
    here = f"at {user_line()}"
    if not callable(fn):
        raise ArgumentTypeError(message(f"tabulate: fn={fn!r} is no function", here=here))
    if isinstance(steps, bool) or not isinstance(steps, int | np.integer):
        text = f"tabulate: steps={steps!r} is no integer"
        raise ArgumentTypeError(message(text, expected="an integer >= 1", here=here))
    if steps < 1:
        text = f"tabulate: steps={steps!r} is out of range"
        raise ArgumentError(message(text, expected="an integer >= 1", here=here))
    table = np.array(
        [finite(fn(step), f"tabulate: fn({step}): returned", "a number") for step in range(steps)]
    )

    def look_up(step: Any) -> Any:
        if not isinstance(step, Tensor):
            return float(table[min(max(int(step), 0), len(table) - 1)])
        return take(constant(table), cast(clip(step, 0, len(table) - 1), int64), axis=0)

    return look_up
