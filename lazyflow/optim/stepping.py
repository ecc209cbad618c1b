"""``step()`` and ``flush()`` of an optimizer: what they refuse, and what is read of a step afterwards."""

from __future__ import annotations

from abc import ABC
from collections.abc import Mapping
from typing import ClassVar

from lazyflow.context import ProgramContext, current_graph
from lazyflow.location import user_line
from lazyflow.optim.average import Average
from lazyflow.optim.gradients import Gradients, gradients_for
from lazyflow.optim.loss_scale import StaticLossScaler
from lazyflow.optim.options import Scalar
from lazyflow.optim.reading import read_with
from lazyflow.optim.recipe import Recipe
from lazyflow.optim.step import Step, Updatable
from lazyflow.runtime.collector import uncollected
from lazyflow.runtime.errors import GraphError, message
from lazyflow.tensor import Tensor
from lazyflow.variable import Parameter, Variable


class Stepping(Updatable, ABC):
    """What an optimizer is for the programs that it steps in.

    Attributes:
        averages: What ``step(average=...)`` keeps: the average of each parameter, a Variable.
    """

    same_parameters: ClassVar[bool] = False  # whether all programs have to update the same parameters

    def _start(self) -> None:
        super()._start()
        self.averages: dict[Parameter, Variable] = {}
        self._steps: dict[ProgramContext, Step] = {}
        self._scheduled_in: dict[ProgramContext, str] = {}

    @uncollected()
    def step(
        self,
        gradients: Mapping[Parameter, Tensor] | None = None,
        *,
        accumulate: int = 1,
        weight: Scalar | None = None,
        loss_scale: StaticLossScaler | None = None,
        clip_value: Scalar | None = None,
        clip_norm: Scalar | None = None,
        skip_nonfinite: bool = False,
        average: Average | None = None,
    ) -> None:
        """Append the update of every parameter that has a gradient to the open program.

        What surrounds the update happens in the order of the arguments, inside the update.

        Args:
            gradients: A tensor per parameter, of its shape and dtype, from anywhere; those of the program
                (``backward()``) unless given. A parameter without gradient is left alone.
            accumulate: How many runs, each with the gradients of a micro-batch, make one update, >= 1.
            weight: The weight of a micro-batch in the mean over them, > 0: its number of samples, as a
                scalar Tensor or a number; 1 unless given.
            loss_scale: A LossScaler or StaticLossScaler, by whose scale the gradients are divided. A dynamic
                one skips updates as ``skip_nonfinite`` does.
            clip_value: Limit of the absolute value of each element, >= 0; a number, or a scalar Tensor.
            clip_norm: Limit of the Euclidean norm over the gradients of all groups, >= 0.
            skip_nonfinite: Whether an update with a gradient that is not finite does not happen, together
                with those of all optimizers of the program that ask for it.
            average: An EMA or SWA of the parameters to keep.

        Raises:
            GraphError: outside of a program; at a second step in one program; if no parameter has a gradient;
                if two schedulers are attached; if the recipe does not go with that of another program.
            ArgumentError, ArgumentTypeError: if an argument is of the wrong type or out of range.
            ShapeError, DTypeError: if a gradient does not fit.
        """
        call = f"{self.name}.step()"
        program = current_graph(call).program_for(call)
        recipe = Recipe(
            user_line(), accumulate, weight, loss_scale, clip_value, clip_norm, skip_nonfinite, average
        )
        graph = self.join(call)
        self.check_schedulers()
        self._check_first(program, "step", recipe.skips or accumulate > 1)
        recipe.check_groups(self.param_groups)
        if gradients is None:
            recipe.check_scaled()
        found = gradients_for(self, program, gradients)
        for step in self._steps.values():
            recipe.check_beside(step.recipe, self.name)
        self._check_parameters(program, found, recipe)
        with graph.scoped(self.name):
            self._append(Step(self, graph, program, recipe, found, found))
        if gradients is None:
            program.taken_at.update(dict.fromkeys((p.ir for p in found), recipe.location))

    def flush(self) -> None:
        """Append to the open program that an unfinished group of micro-batches is applied.

        It takes the mean of what was accumulated so far, and everything else as in ``step``; where nothing
        was accumulated, nothing happens.

        Raises:
            GraphError: outside of a program; in a program with a step or flush of this optimizer; before a
                step that accumulates.
        """
        call = f"{self.name}.flush()"
        program = current_graph(call).program_for(call)
        graph = self.join(call)
        self._check_first(program, "flush", True)
        for step in self._steps.values():
            if step.recipe.accumulate > 1:
                with graph.scoped(self.name), uncollected():
                    self._append(Step(self, graph, program, step.recipe, step.parameters, None))
                return
        text = f"flush: no program accumulates gradients of {self.name!r}"
        hint = "step(accumulate=k) in another program, before"
        raise GraphError(message(text, here=f"at {user_line()}", hint=hint))

    def _append(self, step: Step) -> None:
        self._steps[step.program] = step
        step.append()

    def applied_in(self, program: ProgramContext) -> Tensor | None:
        """The bool scalar that says whether a run of the program applies the update; None: every run does."""
        if program in self._steps:
            return self._steps[program].when
        self._scheduled_in.setdefault(program, user_line())
        return None

    def averaged(self, tensor: Tensor) -> Tensor:
        """A tensor as the averages make it: what to evaluate.

        Appends the ops behind it once more, with the average in place of each parameter that has one so far;
        so it comes after ``step(average=...)``. Training goes on with the parameters.

        Args:
            tensor: What follows from the parameters, logits or a loss, say; or one of them.

        Returns:
            A Tensor of its shape and dtype.

        Raises:
            GraphError: if no average is kept.
        """
        if not self.averages:
            text = f"averaged: optimizer {self.name!r} keeps no averages"
            hint = "step(average=optim.EMA(0.999)), before"
            raise GraphError(message(text, here=f"at {user_line()}", hint=hint))
        averages: dict[Tensor, Tensor] = dict(self.averages.items())
        return read_with(tensor, averages)

    def _check_first(self, program: ProgramContext, call: str, guarded: bool) -> None:
        here = f"at {user_line()}"
        if program in self._steps:
            text = f"{call}: optimizer {self.name!r} steps twice in program {program.ir.name!r}"
            first = f"at {self._steps[program].location}"
            hint = "call backward() on each loss, then step() once; flush() in a program of its own"
            raise GraphError(message(text, first=first, second=here, hint=hint))
        if guarded and program in self._scheduled_in:
            text = f"{call}: a scheduler of {self.name!r} stepped before it in program {program.ir.name!r}"
            first = f"at {self._scheduled_in[program]}"
            hint = f"optimizer.{call}() first: the schedule moves where the update is applied"
            raise GraphError(message(text, first=first, here=here, hint=hint))

    def _check_parameters(self, program: ProgramContext, found: Gradients, recipe: Recipe) -> None:
        if not self._steps or not (self.same_parameters or recipe.accumulate > 1):
            return
        other, step = next(iter(self._steps.items()))
        different = [p.name for p in self.params if (p in step.parameters) != (p in found)]
        if different:
            names = f"programs {other.ir.name!r} and {program.ir.name!r}"
            why = "lazyflow those of the optimizer"
            expected = f"the same ones: PyTorch counts the updates of each parameter, {why}"
            hint = "one optimizer per program; or lazyflow.optim, where one count is for all"
            if not self.same_parameters:
                expected = "the same ones: a group of micro-batches has one number of them"
                hint = "one optimizer per program"
            text = f"step: {names} do not update the same parameters of {self.name!r}: {different[0]!r}"
            first, second = f"at {step.location}", f"at {user_line()}"
            raise GraphError(message(text, first=first, second=second, expected=expected, hint=hint))
