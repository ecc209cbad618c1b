"""What one ``step()`` or ``flush()`` appends to a program, in the order of the recipe."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from functools import cached_property

import numpy as np

from lazyflow.append import as_tensor, constant
from lazyflow.compiler.graph import Value
from lazyflow.context import GraphContext, ProgramContext
from lazyflow.location import user_line
from lazyflow.ops.comparison import isfinite
from lazyflow.ops.elementwise import cast, where
from lazyflow.ops.joining import stack
from lazyflow.ops.reduction import argmax
from lazyflow.ops.reduction import min as smallest
from lazyflow.ops.reduction import sum as total
from lazyflow.ops.shaping import iota
from lazyflow.optim.clip import of_members
from lazyflow.optim.columns import Columns
from lazyflow.optim.filling import Filling
from lazyflow.optim.form import Form
from lazyflow.optim.gradients import Gradients
from lazyflow.optim.groups import Group, stored
from lazyflow.optim.loss_scale import LossScaler
from lazyflow.optim.options import Scalar
from lazyflow.optim.rates import Scheduled
from lazyflow.optim.recipe import SETTABLE, Recipe
from lazyflow.optim.trace import Rule
from lazyflow.optim.transaction import transaction_of
from lazyflow.optim.updates import append_effects
from lazyflow.runtime.dimensions import Shape
from lazyflow.runtime.dtypes import DType, float64, int64
from lazyflow.tensor import Tensor
from lazyflow.variable import Parameter, Variable


class Updatable(Scheduled, ABC):
    """What a step asks of its optimizer.

    Attributes:
        params: Its parameters, in the order of the groups.
    """

    params: tuple[Parameter, ...]

    @property
    def skipped(self) -> Variable:
        """The clock of the updates that were skipped because a gradient was not finite."""
        return self.clock("skipped")

    @property
    def offender(self) -> Variable:
        """The first parameter that made the last skip, its place in ``params``; -1: another optimizer's."""
        return self.clock("offender", initial=-1)

    @cached_property
    def filling(self) -> Filling:
        """The unfinished group of micro-batches."""

        def make(parameter: Parameter) -> Variable:
            shape, dtype = parameter.shape, parameter.dtype
            return stored(lambda: parameter.name, "accumulated", self.location, 0.0, shape, dtype)

        return Filling(self.clock("accumulated"), self.stored_number("weight", 0.0), make)

    @abstractmethod
    def member(self, parameter: Parameter) -> Variable:
        """The int32 scalar that holds a parameter's group."""

    @abstractmethod
    def rule(self, group: Group, parameter: Parameter, form: Form) -> Rule:
        """The traced update rule of a parameter in a group."""

    @abstractmethod
    def kept(self, parameter: Parameter, rule: Rule, average: str) -> tuple[Variable, ...]:
        """The state of a parameter, in the graph; and its average, where one of that name is kept."""

    @abstractmethod
    def next_of_group(self, group: Group, t: Tensor) -> list[tuple[Variable, Tensor]]:
        """The scalars kept for a group, and their next values."""


class Step:
    """The update of an optimizer in one program.

    Args:
        optimizer: The optimizer.
        graph: The graph of the program.
        program: The open program.
        recipe: What surrounds the update.
        parameters: The parameters that are updated.
        gradients: Their gradients; None: an unfinished group of micro-batches is applied.

    Attributes:
        location: The user's line.
        when: The bool scalar that says whether a run applies the update; None: every run does.
    """

    def __init__(
        self,
        optimizer: Updatable,
        graph: GraphContext,
        program: ProgramContext,
        recipe: Recipe,
        parameters: Iterable[Parameter],
        gradients: Gradients | None,
    ) -> None:
        self.location = user_line()
        self.program = program
        self.recipe = recipe
        self.parameters = dict.fromkeys(parameters)  # in order; a tuple would compare Tensors
        self._optimizer = optimizer
        self._graph = graph
        self._gradients = gradients
        self._filling = optimizer.filling if recipe.accumulate > 1 else None
        self._scalars = {"t": cast(optimizer.applied, float64) + 1.0}
        self._full = self._gather()
        self._finite: Tensor | None = None
        self.when = self._full
        if recipe.skips:
            self._finite = self._join_transaction()
            self.when = self._finite if self._full is None else self._full & self._finite

    # --- the gradients, and whether they are applied ------------------------------------------------------

    def _gather(self) -> Tensor | None:
        """Make the scalars by which gradients are gathered; whether their group is full (None: always)."""
        recipe, filling, scalars = self.recipe, self._filling, self._scalars
        for name in SETTABLE:
            if getattr(recipe, name) is not None:
                scalars[f"recipe/{name}"] = self._optimizer.number(name, getattr(recipe, name))
        scaler = recipe.loss_scale
        inverse = None if scaler is None else 1.0 / cast(scaler.factor, float64)
        if filling is None:
            if inverse is not None:
                scalars["recipe/unscale"] = inverse
            return None
        if self._gradients is None:
            scalars["recipe/unscale"] = 1.0 / filling.weight
            return filling.count > 0
        scalars["recipe/first"] = cast(filling.count == 0, float64)
        if recipe.weight is not None or inverse is not None:
            weight = self._weight if inverse is None else self._weight * inverse
            scalars["recipe/weight"] = weight
        scalars["recipe/unscale"] = 1.0 / (filling.weight + self._weight)
        return filling.count >= recipe.accumulate - 1

    @cached_property
    def _weight(self) -> Tensor:
        """The weight of this micro-batch."""
        weight: Scalar = 1.0 if self.recipe.weight is None else self.recipe.weight
        return cast(as_tensor(weight, None if isinstance(weight, Tensor) else float64), float64)

    @cached_property
    def form(self) -> Form:
        """What the recipe makes of the update's body."""
        elements: tuple[str, ...] = ("g",)
        if self._filling is not None:
            elements = ("accumulated",) if self._gradients is None else ("g", "accumulated")
        return Form(
            elements,
            weighted="recipe/weight" in self._scalars,
            unscaled="recipe/unscale" in self._scalars,
            limited=self.recipe.clip_value is not None,
            clipped=self.recipe.clip_norm is not None,
            average="" if self.recipe.average is None else self.recipe.average.key,
        )

    def _elements(self, parameter: Parameter) -> list[Tensor]:
        """What the update reads besides the parameter and its state."""
        given = [] if self._gradients is None else [self._gradients[parameter]]
        return given if self._filling is None else [*given, self._filling.sum_of(parameter)]

    @cached_property
    def _totals(self) -> list[tuple[Tensor, Tensor]]:
        """The gradient of all micro-batches of each parameter, and its group."""
        return [(self._total(p), self._optimizer.member(p)) for p in self.parameters]

    def _total(self, parameter: Parameter) -> Tensor:
        return self.form.total(
            self._elements(parameter), lambda name: cast(self._scalars[name], parameter.dtype)
        )

    @cached_property
    def _flags(self) -> Tensor:
        """Whether each gradient is finite, or its group frozen, (parameters,)."""
        gradients, members = zip(*self._totals, strict=True)
        frozen = of_members(self._columns.column("frozen"), members) > 0.5
        if 2.0 in self._norms and not self.form.limited and all(g.dtype != float64 for g in gradients):
            return isfinite(self._columns.parts(2.0)) | frozen  # squares of float32 do not overflow
        if self._norms and self.form.limited:
            gradients = self._columns.scaled  # what the norms read too, so that one kernel computes both
        return stack([smallest(isfinite(each)) for each in gradients]) | frozen

    @property
    def _norms(self) -> set[float]:
        """The p of the norms by which gradients are clipped."""
        if self.form.clipped:
            return {2.0}
        groups = self._optimizer.param_groups
        return {g["clip_grad_norm_type"] for g in groups if g["clip_grad_max_norm"] is not None}

    def _join_transaction(self) -> Tensor:
        """Whether the gradients of all optimizers of the program that may skip are finite."""
        transaction = transaction_of(self._graph, self.program)
        mine = smallest(self._flags)
        finite = transaction.join(self._optimizer.name, mine if self._full is None else mine | ~self._full)
        if isinstance(self.recipe.loss_scale, LossScaler):
            transaction.attempt(self.recipe.loss_scale, self._full)
        return finite

    # --- what is appended ---------------------------------------------------------------------------------

    def append(self) -> None:
        """Append the updates, the sums that they leave, and the clocks."""
        self._append_updates()
        if self._filling is not None:
            self._append_sums()
        self._append_clocks()

    @cached_property
    def _columns(self) -> Columns:
        return Columns(self._optimizer.param_groups, lambda: self._totals, self._scalars)

    def _append_updates(self) -> None:
        optimizer = self._optimizer
        self._append_share()
        hoisted: dict[Rule, list[Value]] = {}
        for group in optimizer.param_groups:
            rules: dict[tuple[Shape, DType], Rule] = {}
            for parameter in (p for p in group.params if p in self.parameters):
                kind = parameter.shape, parameter.dtype
                if kind not in rules:
                    rules[kind] = optimizer.rule(group, parameter, self.form)
                rule = rules[kind]
                if rule not in hoisted:
                    columns = {name: self._columns.of(name, group) for name in rule.scalars}
                    hoisted[rule] = rule.hoisted(self._graph, columns)
                variables = (parameter, *optimizer.kept(parameter, rule, self.form.average))
                self._append(rule, variables, self._elements(parameter), hoisted[rule], self.when, parameter)
        for group in optimizer.param_groups:
            for variable, value in optimizer.next_of_group(group, self._scalars["t"]):
                variable.assign(where(group["frozen"], variable, value), when=self.when)

    def _append(
        self,
        rule: Rule,
        variables: tuple[Variable, ...],
        elements: list[Tensor],
        columns: list[Value],
        when: Tensor | None,
        parameter: Parameter,
    ) -> None:
        inputs = [each.value for each in (*elements, self._optimizer.member(parameter))]
        groups = len(self._optimizer.param_groups)
        append_effects(
            self._graph, self.program, rule, variables, [*inputs, *columns], groups, when, len(elements)
        )

    def _append_share(self) -> None:
        """How far averages go to the new parameter; their clock counts how often they were moved."""
        average = self.recipe.average
        if average is None:
            return
        taken = self._optimizer.clock("averaged")
        numbers = {
            name: self._optimizer.number(f"average/{name}", value) for name, value in average.numbers.items()
        }
        share = average.share(numbers, cast(taken, float64), self._scalars["t"])
        self._scalars["recipe/share"] = share
        taken.assign(taken + cast(share > 0.0, int64), when=self.when)

    def _append_sums(self) -> None:
        """Add the gradients to the sums, where the group is not full, and count."""
        filling, full = self._filling, self._full
        if filling is None or full is None:
            return
        if self._gradients is not None:
            hoisted: dict[DType, list[Value]] = {}
            open_ = ~full
            for parameter, gradient in self._gradients.items():
                rule = filling.rule(parameter.dtype, self.form)
                if parameter.dtype not in hoisted:
                    columns = {name: self._columns.column(name) for name in rule.scalars}
                    hoisted[parameter.dtype] = rule.hoisted(self._graph, columns)
                columns_of = hoisted[parameter.dtype]
                self._append(rule, (filling.sum_of(parameter),), [gradient], columns_of, open_, parameter)
            filling.count.assign(where(full, 0, filling.count + 1))
            filling.weight.assign(where(full, 0.0, filling.weight + self._weight))
        else:
            filling.count.assign(0)
            filling.weight.assign(0.0)

    def _append_clocks(self) -> None:
        optimizer, full = self._optimizer, self._full
        if self._gradients is not None:
            optimizer.micro_steps.assign(optimizer.micro_steps + 1)
        optimizer.updates.assign(optimizer.updates + 1, when=full)
        optimizer.applied.assign(optimizer.applied + 1, when=self.when)
        if self._finite is not None:
            skipped = ~self._finite if full is None else full & ~self._finite
            optimizer.skipped.assign(optimizer.skipped + 1, when=skipped)
            optimizer.offender.assign(self._offender(), when=skipped)

    def _offender(self) -> Tensor:
        """The place of the first parameter whose gradient is not finite among all; -1 if there is none."""
        numbers = {p: number for number, p in enumerate(self._optimizer.params)}
        places = [numbers[p] for p in self.parameters]
        first = argmax(~self._flags)
        if places != list(range(len(places))):
            known = constant(np.array(places, np.int64))
            first = total(where(iota(len(places)) == first, known, 0))
        return where(smallest(self._flags), -1, first)
