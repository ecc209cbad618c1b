"""LRScheduler: the rate, or another number of the groups, as a function of the step, computed in the plan."""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Iterable
from inspect import Parameter, Signature
from typing import Any, ClassVar, TypeAlias, dataclass_transform

import numpy as np

from lazyflow.compiler import primitives
from lazyflow.compiler.graph import make
from lazyflow.context import ProgramContext, current_graph
from lazyflow.location import user_line
from lazyflow.optim.lr_scheduler.curve import Rates, evaluate
from lazyflow.optim.lr_scheduler.driven import Driven, groups_with
from lazyflow.optim.lr_scheduler.preview import draw_svg, label, plot, shown_steps
from lazyflow.optim.lr_scheduler.settings import (
    Choice,
    Clock,
    Flag,
    Integer,
    Milestones,
    Number,
    PerGroup,
    required,
)
from lazyflow.optim.lr_scheduler.tracing import finite, trace
from lazyflow.optim.optimizer import Optimizer
from lazyflow.optim.options import Declared, argument
from lazyflow.runtime.errors import ArgumentError, ArgumentTypeError, GraphError, message
from lazyflow.tensor import Tensor
from lazyflow.variable import Variable

Steps: TypeAlias = int | Iterable[int]


@dataclass_transform(
    field_specifiers=(Number, Integer, Flag, Choice, Milestones, PerGroup, Clock, Driven, required, argument)
)
class Fields(Declared):
    """A class whose fields are a scheduler's arguments: type checkers want the decorator on a base class."""


class LRScheduler(Fields, ABC):
    """Base of all schedulers: what stands around a rate that is a function of the step.

    A subclass declares its settings as fields and gives its curve in ``rate``. Update number k, from 0, runs
    with the rate at step k; ``step()`` advances the schedule's clock.

    Args:
        optimizer: The optimizer whose rates it makes, for each parameter group from its base rate.
        last_step: The last step that was made elsewhere, >= -1: the clock starts at ``last_step + 1``.
        verbose: Whether the running plan reports the first rate and each change, one line per group.
        clock: An int64 scalar to read as the step; None: the optimizer's clock ``schedule``, or
            ``schedule/OPTION`` where the option is another than the rate.
        option: The number that it makes in place of the rate: the name of an option, "weight_decay", or of a
            number of a tuple, "betas/0". What is said of rates and base rates then holds for this number.

    Attributes:
        location: The user's line that made it.
        owner: The composition that it is a part of, or None.

    Example:
        >>> import lazyflow as lf
        >>> from lazyflow import optim
        >>> class InverseTime(LRScheduler):
        ...     decay: Number[float] = Number(default=0.1, low=0)
        ...     def rate(self, base, step):
        ...         return base / (1.0 + self.decay * step)
        >>> optimizer = optim.SGD([lf.Parameter([0.0], name="w")], lr=1.0)
        >>> InverseTime(optimizer, decay=0.5).curve(3)
        array([1.        , 0.66666667, 0.5       ])
    """

    optimizer: Optimizer = required()
    last_step: Integer[int] = Integer(default=-1, low=-1, kw_only=True)
    verbose: Flag = Flag(default=False, kw_only=True)
    clock: Clock = Clock(default=None, kw_only=True)
    option: Driven = Driven(default="lr", kw_only=True)

    composable: ClassVar[bool] = True  # whether its rate is a function of the step
    aliases: ClassVar[dict[str, str]] = {}  # other names of arguments

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.__signature__ = _tail_positional(cls.__signature__)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.location = user_line()
        self.owner: LRScheduler | None = None
        self._stepped: dict[ProgramContext, str] = {}
        given = self.bind(args, self._by_name(kwargs), f"at {self.location}")
        self.optimizer = self.find_optimizer(given)
        for name in self.__signature__.parameters:
            if name != "optimizer":
                setattr(self, name, given[name])
        self.check()
        self.optimizer.attach(self)

    def _by_name(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        for alias, name in self.aliases.items():
            if alias in kwargs and name in kwargs:
                text = f"{type(self).__name__}: {alias} and {name} are one argument"
                raise ArgumentTypeError(message(text, here=f"at {self.location}"))
        return {self.aliases.get(name, name): value for name, value in kwargs.items()}

    # --- what a subclass gives ----------------------------------------------------------------------------

    @abstractmethod
    def rate(self, base: Tensor, step: Tensor) -> Tensor:
        """The rate of a group, in float64 tensor arithmetic.

        Conditions on the step may be written with ``if``: the method is called once for each outcome.

        Args:
            base: The group's base rate, a float64 scalar.
            step: The step, from 0, a float64 scalar.

        Returns:
            Scalar Tensor, or a number.
        """

    def check(self) -> None:
        """Refuse settings that do not go together."""

    @property
    def length(self) -> int | None:
        """The step from which the rate is constant; None where there is none, or it is not known."""
        return None

    def refuse(self, headline: str, **rows: object) -> ArgumentError:
        """The error for a setting that is out of range: first the class, last the line."""
        return ArgumentError(
            message(f"{type(self).__name__}: {headline}", **rows, here=f"at {self.location}")
        )

    # --- what surrounds a rate ----------------------------------------------------------------------------

    def find_optimizer(self, given: dict[str, Any]) -> Optimizer:
        """The optimizer that the arguments name.

        Raises:
            ArgumentTypeError: if there is none.
        """
        optimizer = given["optimizer"]
        if isinstance(optimizer, Optimizer):
            return optimizer
        kind = type(self).__name__
        hint = f"{kind}(optimizer, ...): the optimizer comes first"
        if isinstance(optimizer, LRScheduler):
            hint = (
                f"WarmUpLR, SequentialLR and ChainedScheduler compose schedulers; {kind} takes an optimizer"
            )
        raise ArgumentTypeError(
            message(
                f"{kind}: optimizer={optimizer!r} is no optimizer",
                expected="an optimizer of lazyflow.optim",
                here=f"at {self.location}",
                hint=hint,
            )
        )

    @property
    def own_clock(self) -> Variable:
        """The clock that ``step()`` advances: OPTIMIZER/schedule, or OPTIMIZER/schedule/OPTION."""
        name = "schedule" if self.option == "lr" else f"schedule/{self.option}"
        return self.optimizer.clock(name, initial=self.last_step + 1)

    @property
    def reads_own_clock(self) -> bool:
        """Whether its step is the clock that ``step()`` advances."""
        return self.__dict__["clock"] is None

    @property
    def stands_still(self) -> bool:
        """Whether no program calls the ``step()`` that would move its clock."""
        return self.reads_own_clock and not self._stepped

    @property
    def drives(self) -> tuple[str, ...]:
        """The names of the numbers that it makes; its option is the first."""
        return (self.option,)

    def value_for(self, name: str, group: int, base: Tensor, step: Tensor) -> Tensor:
        """A number of a parameter group at a step; what it does not drive keeps its base."""
        return self.rate_for(group, base, step) if name == self.option else base

    def rate_for(self, group: int, base: Tensor, step: Tensor) -> Tensor:
        """The rate of a parameter group at a step; float64 scalars."""
        return trace(lambda: self.rate(base, step), f"{type(self).__name__}.rate")

    def step(self) -> None:
        """Append to the open program that the schedule's clock moves by one.

        In a program with its optimizer's update the clock moves where that update was applied; in a program
        of its own (one per epoch, say), always.

        Raises:
            GraphError: outside of a program; at a second step in one program; if a composition owns it; if
                another scheduler drives the same; if it reads another clock and has nothing to report.
        """
        program = current_graph("scheduler.step()").program_for("scheduler.step()")
        self._check_step(program)
        groups = [(name, i) for name in self.drives for i in groups_with(self.optimizer, name)]
        numbers = [(name, i, self.optimizer.value(name, i)) for name, i in groups]
        if self.reads_own_clock:
            self.optimizer.advance(self.own_clock)
        if self.verbose:
            for name, index, number in numbers:
                program.add_effect(_report(name, index, number))
        self._stepped[program] = user_line()

    def _check_step(self, program: ProgramContext) -> None:
        kind, here = type(self).__name__, f"at {user_line()}"
        if self.owner is not None:
            owner = type(self.owner).__name__
            raise GraphError(
                message(
                    f"{kind}.step(): a {owner} owns this schedule and advances it",
                    owner=f"made at {self.owner.location}",
                    here=here,
                    hint=f"call step() of the {owner} only",
                )
            )
        if program in self._stepped:
            text = f"{kind}.step(): called twice in program {program.ir.name!r}"
            hint = "put the second into another program"
            raise GraphError(message(text, first=f"at {self._stepped[program]}", second=here, hint=hint))
        if not self.reads_own_clock and not self.verbose:
            raise GraphError(
                message(
                    f"{kind}.step(): it reads the clock {self.clock.name!r}, which moves without it",
                    made=f"at {self.location}",
                    here=here,
                    hint="leave step() out, or clock=",
                )
            )

    def curve(
        self, steps: Steps, group: int = 0, base: float | None = None, option: str | None = None
    ) -> Rates:
        """The rates at many steps, without training.

        Args:
            steps: How many, counted from step 0, or the steps themselves.
            group: The number of the parameter group.
            base: The base rate; the group's initial one unless given.
            option: Which number, where the scheduler drives several, as one that cycles the momentum does.

        Returns:
            Float64 array, shape (steps,): to the last bit what a plan computes on the ``numpy`` backend.

        Raises:
            ArgumentError: if there are no steps, or one is negative; if the group does not exist or has no
                such number; if the base rate is a Tensor of the user's, and none is given.
            GraphError: if the rate depends on something besides the base rate and the step.

        Example:
            >>> import lazyflow as lf
            >>> from lazyflow import optim
            >>> from lazyflow.optim import lr_scheduler
            >>> optimizer = optim.SGD([lf.Parameter([0.0], name="w")], lr=1.0)
            >>> lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.5).curve(6)
            array([1.  , 1.  , 0.5 , 0.5 , 0.25, 0.25])
        """
        what = f"{type(self).__name__}.curve"
        numbers = _as_steps(steps, what)
        name = self.option if option is None else option
        if name not in self.drives:
            text = f"{what}: option={name!r} is not driven"
            raise ArgumentError(message(text, expected=", ".join(self.drives)))
        index = self._group(group, name, what)
        start = self._base(name, index, what) if base is None else finite(base, f"{what}: base =", "a number")
        return evaluate(lambda b, k: self.value_for(name, index, b, k), start, numbers, what)

    def _group(self, given: object, name: str, what: str) -> int:
        count, having = len(self.optimizer.param_groups), groups_with(self.optimizer, name)
        if not isinstance(given, int | np.integer) or isinstance(given, bool) or not 0 <= given < count:
            raise ArgumentError(f"{what}: group={given!r} does not exist; there are {count}")
        if given not in having:
            raise ArgumentError(f"{what}: group {given} has no {name!r}; {having} have")
        return int(given)

    def _base(self, name: str, group: int, what: str) -> float:
        variable = self.optimizer.param_groups[group].base(name)
        if isinstance(variable, Variable) and isinstance(variable.initial, int | float):
            return float(variable.initial)
        called = "rate" if name == "lr" else repr(name)
        text = f"{what}: the base {called} of group {group} is computed while the plan runs"
        raise ArgumentError(message(text, base=variable.describe(), hint="curve(steps, base=0.1)"))

    def plot(self, steps: int | None = None, axes: Any = None) -> Any:
        """Plot the rates of all groups with matplotlib.

        Args:
            steps: How many, from step 0; those of the schedule, and 100 where it has no end, unless given.
            axes: Matplotlib axes to draw into; None: new ones.

        Returns:
            The axes.
        """
        return plot(type(self).__name__, self.option, *self._shown(steps), axes)

    def _shown(self, steps: int | None) -> tuple[list[int], dict[int, Rates]]:
        """Steps for a picture, and the rates of each group there."""
        if steps is None:
            steps = 100 if self.length is None else self.length + self.length // 8 + 2
        shown = shown_steps(len(_as_steps(steps, f"{type(self).__name__}.plot")))
        return shown, {i: self.curve(shown, i) for i in groups_with(self.optimizer, self.option)}

    def _repr_svg_(self) -> str | None:
        try:
            return draw_svg(type(self).__name__, self.option, *self._shown(None))
        except (GraphError, ArgumentError):  # no curve without a run: the notebook shows the text
            return None

    def __repr__(self) -> str:
        shown = {
            name: (repr(self.__dict__[name]), repr(option.default)) for name, option in self.options.items()
        }
        settings = "".join(f", {name}={text}" for name, (text, default) in shown.items() if text != default)
        return f"<{type(self).__name__} of {self.optimizer.name!r}{settings}, made at {self.location}>"


def _tail_positional(signature: Signature) -> Signature:
    """The signature with last_step and verbose behind the settings, by position too, as in OneFlow."""
    parameters = dict(signature.parameters)
    tail = [parameters.pop(name) for name in ("last_step", "verbose") if name in parameters]
    keywords = [p for p in parameters.values() if p.kind is Parameter.KEYWORD_ONLY]
    first = [p for p in parameters.values() if p.kind is not Parameter.KEYWORD_ONLY]
    moved = [p.replace(kind=Parameter.POSITIONAL_OR_KEYWORD) for p in tail]
    return Signature([*first, *moved, *keywords])


def _as_steps(steps: Steps, what: str) -> Rates:
    try:
        numbers = range(operator.index(steps)) if not isinstance(steps, Iterable) else steps
        array = np.array([operator.index(step) for step in numbers], np.float64)
    except TypeError:
        text = f"{what}: steps={steps!r} is neither a number of steps nor steps"
        raise ArgumentTypeError(message(text, expected="an integer >= 1, or integers >= 0")) from None
    if not array.size or array.min() < 0:
        raise ArgumentError(message(f"{what}: steps={steps!r} is out of range", expected="an integer >= 1"))
    return array


def _report(name: str, index: int, rate: Tensor) -> Any:
    """The op that prints a group's rate at first, and whenever it changes."""
    graph = rate.graph
    text = f"Adjusting {label(name)} of group {index} to {{:.4e}}."
    attributes = {"text": text, "on_change": True, "guarded": False}
    return graph.append(make(primitives.print_, (rate.value,), attributes, graph.origin("verbose")))
