"""Schedules given as Python functions of the step."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

import numpy as np

from lazyflow.append import placeholder
from lazyflow.context import GraphContext, opened
from lazyflow.optim.lr_scheduler.scheduler import LRScheduler
from lazyflow.optim.lr_scheduler.settings import Integer, required
from lazyflow.optim.lr_scheduler.tracing import Schedule, finite, tabulate, trace, try_out
from lazyflow.runtime.dtypes import float64
from lazyflow.runtime.errors import ArgumentError, ArgumentTypeError, SymbolicError, message
from lazyflow.tensor import Tensor


class LambdaLR(LRScheduler):
    """The base rate times a function of the step.

        rate = b * lr_lambda(k)

    The function gets the step as a float64 scalar Tensor and may use ``if``, ``min``, ``max``, ``and``,
    ``//`` and the like: it is called once for each outcome of its conditions, so it has to be pure. Where it
    needs the number itself, make a table of it with ``lf.tabulate``.

    Args:
        optimizer: The optimizer whose rates it makes.
        lr_lambda: A function from a step to a factor, or a list of one for each parameter group.
        last_step: See :class:`LRScheduler`, for this and the arguments that follow.

    Raises:
        ArgumentError: if a list has not one function for each group, something in it cannot be called, or
            gives no finite number.
        SymbolicError: if a function needs the step's number, or its conditions have over 64 paths.

    Example:
        >>> import lazyflow as lf
        >>> from lazyflow import optim
        >>> optimizer = optim.SGD([lf.Parameter([0.0], name="w")], lr=1.0)
        >>> LambdaLR(optimizer, lambda step: 0.5 if step < 2 else max(0.0, 1 - step / 4)).curve(6)
        array([0.5 , 0.5 , 0.5 , 0.25, 0.  , 0.  ])
    """

    lr_lambda: Any = required()

    def check(self) -> None:
        """Refuse a list of the wrong length, what cannot be called, and what cannot be traced."""
        self.functions = per_group(self, self.lr_lambda)
        for function in self.functions:
            try_out(function, describe(self, function))

    def rate(self, base: Tensor, step: Tensor) -> Tensor:
        """The rate of the first group."""
        return self.rate_for(0, base, step)

    def rate_for(self, group: int, base: Tensor, step: Tensor) -> Tensor:
        """The rate of a group."""
        function = self.functions[group]
        return base * trace(lambda: function(step), describe(self, function))


class MultiplicativeLR(LRScheduler):
    """The base rate times the product of a function's values up to the step.

        rate = b * lr_lambda(1) * lr_lambda(2) * ... * lr_lambda(k)

    A factor that is the same at every step gives a power. Another product has no closed form: then ``steps``
    says how many steps are computed while the graph is built and kept as a table, and the function gets plain
    integers. Past the table the last rate holds.

    Args:
        optimizer: The optimizer whose rates it makes.
        lr_lambda: A function from a step to a factor, or a list of one for each parameter group.
        steps: The number of steps in the table, >= 1; None: the factor does not depend on the step.
        last_step: See :class:`LRScheduler`, for this and the arguments that follow.

    Raises:
        ArgumentError: if a list has not one function for each group, something in it cannot be called, or a
            factor depends on the step and ``steps`` is not given.

    Example:
        >>> import lazyflow as lf
        >>> from lazyflow import optim
        >>> optimizer = optim.SGD([lf.Parameter([0.0], name="w")], lr=1.0)
        >>> MultiplicativeLR(optimizer, lambda step: 0.5).curve(4)
        array([1.   , 0.5  , 0.25 , 0.125])
    """

    lr_lambda: Any = required()
    steps: Integer[int | None] = Integer(default=None, low=1, kw_only=True)

    def check(self) -> None:
        """Refuse a list of the wrong length, and products without closed form or table."""
        functions = per_group(self, self.lr_lambda)
        self.functions = [
            self._power(function) if self.steps is None else self._table(function, self.steps)
            for function in functions
        ]

    def _power(self, function: Schedule) -> Schedule:
        what = describe(self, function)
        try:
            factor = _on_a_tensor(function)
        except SymbolicError:
            factor = None  # it looks at the step
        else:
            factor = None if isinstance(factor, Tensor) else finite(factor, f"{what}: returned", "a number")
        if factor is not None:
            return lambda step: factor**step
        raise ArgumentError(
            message(
                f"{what} depends on the step, and such a product has no closed form",
                expected="a factor that is the same at every step, or steps=",
                here=f"at {self.location}",
                hint=f"{type(self).__name__}(optimizer, fn, steps=N) keeps a table of N steps",
            )
        )

    def _table(self, function: Schedule, steps: int) -> Schedule:
        what = describe(self, function)
        factors = [finite(function(step), f"{what}: returned", "a number") for step in range(1, steps)]
        products = np.cumprod([1.0, *factors])
        return tabulate(lambda step: float(products[step]), steps=steps)

    def rate(self, base: Tensor, step: Tensor) -> Tensor:
        """The rate of the first group."""
        return self.rate_for(0, base, step)

    def rate_for(self, group: int, base: Tensor, step: Tensor) -> Tensor:
        """The rate of a group."""
        rate: Tensor = base * self.functions[group](step)
        return rate


def per_group(scheduler: LRScheduler, given: object) -> list[Schedule]:
    """The function of each parameter group, from one for all or a list of one for each.

    Raises:
        ArgumentTypeError: if something cannot be called.
        ArgumentError: if the list has another length.
    """
    count = len(scheduler.optimizer.param_groups)
    functions: list[Any] = list(given) if isinstance(given, list | tuple) else [given] * count
    kind, here = type(scheduler).__name__, f"at {scheduler.location}"
    for function in functions:
        if not callable(function):
            text = f"{kind}: lr_lambda={given!r}: {function!r} is no function"
            expected = "a function of the step, or a list of one per parameter group"
            raise ArgumentTypeError(message(text, expected=expected, here=here))
    if len(functions) != count:
        text = f"lr_lambda has {len(functions)} functions for {count} parameter groups"
        raise scheduler.refuse(text, expected=f"one function, or a list of {count}")
    return functions


def describe(scheduler: LRScheduler, function: Schedule) -> str:
    """The function in the words of messages: its class, name and line."""
    code = getattr(function, "__code__", None)
    name = getattr(function, "__name__", type(function).__name__)
    place = f" ({PurePath(code.co_filename).name}:{code.co_firstlineno})" if code is not None else ""
    return f"{type(scheduler).__name__}: {name}{place}"


def _on_a_tensor(function: Schedule) -> object:
    """What the function gives for a step that has no number."""
    with opened(GraphContext("factor")):
        return function(placeholder("step", (), float64))
