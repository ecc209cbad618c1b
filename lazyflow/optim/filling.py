"""Groups of micro-batches: gradients that are summed over several runs before an update takes them."""

from __future__ import annotations

from collections.abc import Callable

from lazyflow.ops.elementwise import where
from lazyflow.optim.form import Form, Scalars
from lazyflow.optim.trace import Next, Rule, trace
from lazyflow.runtime.dtypes import DType
from lazyflow.tensor import Tensor
from lazyflow.variable import Parameter, Variable


class Filling:
    """The variables of an unfinished group of micro-batches.

    Args:
        count: The int64 scalar that counts its micro-batches.
        weight: The float64 scalar that holds the sum of their weights.
        make: Makes the variable that holds the weighted sum of a parameter's gradients.
    """

    def __init__(self, count: Variable, weight: Variable, make: Callable[[Parameter], Variable]) -> None:
        self.count = count
        self.weight = weight
        self.sums: dict[Parameter, Variable] = {}
        self._make = make
        self._rules: dict[tuple[DType, bool], Rule] = {}

    def sum_of(self, parameter: Parameter) -> Variable:
        """The weighted sum of a parameter's gradients."""
        if parameter not in self.sums:
            self.sums[parameter] = self._make(parameter)
        return self.sums[parameter]

    def rule(self, dtype: DType, form: Form) -> Rule:
        """The rule by which a sum takes a gradient, its parameter; the first of a group replaces it."""

        def update(p: Tensor, g: Tensor, state: tuple[Tensor, ...], scalar: Scalars) -> Next:
            added = g * scalar("recipe/weight") if form.weighted else g
            return where(scalar("recipe/first") > 0.5, added, p + added), ()

        key = (dtype, form.weighted)
        if key not in self._rules:
            self._rules[key] = trace("accumulate", dtype, lambda _: {}, update)
        return self._rules[key]
