"""Schedules made of schedules: one after the other, or each on the rate of the one before it."""

from __future__ import annotations

from abc import ABC
from collections.abc import Sequence
from typing import Any

from lazyflow.ops.elementwise import maximum, where
from lazyflow.optim.lr_scheduler.driven import Driven
from lazyflow.optim.lr_scheduler.scheduler import LRScheduler
from lazyflow.optim.lr_scheduler.settings import Flag, Milestones, required
from lazyflow.optim.optimizer import Optimizer
from lazyflow.optim.options import argument
from lazyflow.runtime.errors import ArgumentTypeError, GraphError, message
from lazyflow.tensor import Tensor


class Composition(LRScheduler, ABC):
    """Base of the schedules that own others: what they own is advanced through them alone.

    All parts drive one option. Where a part drives another number besides, as one that cycles the momentum
    does, the composition drives that too: a part that does not drive it leaves it as it is.
    """

    option: Driven = Driven(default=None, kw_only=True)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.parts: Sequence[LRScheduler] = ()
        super().__init__(*args, **kwargs)

    @property
    def option_of_parts(self) -> str:
        """What its parts drive; the rate where there are none."""
        option: str = self.parts[0].option if self.parts else "lr"
        return option

    @property
    def drives(self) -> tuple[str, ...]:
        """What it and its parts drive."""
        names = [name for part in self.parts for name in part.drives]
        return tuple(dict.fromkeys([self.option, *names]))

    def rate_for(self, group: int, base: Tensor, step: Tensor) -> Tensor:
        """The rate of a group."""
        return self.value_for(self.option, group, base, step)

    def adopt(self, parts: Sequence[LRScheduler]) -> None:
        """Become the owner of schedulers of the same optimizer.

        Raises:
            ArgumentError: if something is no scheduler, cannot be composed, or is of another optimizer.
            GraphError: if a composition owns one already, or the rate was read.
        """
        for place, part in enumerate(parts):
            self._check_part(part, [id(each) for each in parts[:place]])
        for part in parts:
            self.optimizer.detach(part)
            part.owner = self
        self.verbose = self.verbose or any(part.verbose for part in parts)

    def _check_part(self, part: LRScheduler, before: list[int]) -> None:
        kind, made = type(part).__name__, f"at {part.location}"
        if part.owner is not None:
            owner = f"{type(part.owner).__name__}, made at {part.owner.location}"
            text = f"{type(self).__name__}: this {kind} has an owner already"
            raise GraphError(message(text, owner=owner, made=made, here=f"at {self.location}"))
        if part.option != self.option:
            expected = f"schedulers of {self.option!r}"
            hint = "one scheduler for each option, each with its own step()"
            text = f"this {kind} drives {part.option!r}"
            raise self.refuse(text, made=made, expected=expected, hint=hint)
        if id(part) in before:
            raise self.refuse(f"the same {kind} is there twice", made=made, hint="make a second one")
        if part.optimizer is not self.optimizer:
            expected = f"schedulers of {self.optimizer.name!r}"
            raise self.refuse(
                f"this {kind} is of optimizer {part.optimizer.name!r}", made=made, expected=expected
            )
        if not part.composable:
            raise self.refuse(f"a {kind} cannot be composed: its rate is no function of the step", made=made)
        if part.last_step not in (-1, self.last_step):
            hint = f"{type(self).__name__}(..., last_step={part.last_step})"
            raise self.refuse(f"this {kind} has last_step={part.last_step} of its own", made=made, hint=hint)
        if not part.reads_own_clock:
            hint = f"{type(self).__name__}(..., clock=...)"
            raise self.refuse(f"this {kind} reads a clock of its own", made=made, hint=hint)


class SequentialLR(Composition):
    """Schedules one after the other: the next begins at each milestone.

    The step of a schedule counts from its milestone; with ``global_steps``, from 0 for all of them, but those
    for which ``interval_rescaling`` asks otherwise.

    Args:
        optimizer: The optimizer whose rates it makes.
        schedulers: Schedulers of this optimizer, one more than there are milestones.
        milestones: Steps in increasing order, each >= 1.
        interval_rescaling: Whether a step counts from the milestone also with ``global_steps``: True, False,
            or a list of one for each milestone.
        last_step: See :class:`LRScheduler`, for this and the arguments that follow.
        global_steps: Whether steps count from 0, as in OneFlow.

    Example:
        >>> import lazyflow as lf
        >>> from lazyflow import optim
        >>> from lazyflow.optim.lr_scheduler import ConstantLR, ExponentialLR
        >>> optimizer = optim.SGD([lf.Parameter([0.0], name="w")], lr=1.0)
        >>> parts = [ConstantLR(optimizer, factor=0.1), ExponentialLR(optimizer, gamma=0.5)]
        >>> SequentialLR(optimizer, parts, milestones=[2]).curve(5)
        array([0.1 , 0.1 , 1.  , 0.5 , 0.25])
    """

    schedulers: Any = required()
    milestones: Milestones[Any] = Milestones(low=1)
    interval_rescaling: Any = argument(default=False, kw_only=False)
    global_steps: Flag = Flag(default=False, kw_only=True)

    def check(self) -> None:
        """Take the schedulers over."""
        self.parts = listed(self, self.schedulers)
        self._rescaled = self._per_milestone(self.interval_rescaling)
        if len(self.parts) != len(self.milestones) + 1:
            text = f"{len(self.parts)} schedulers and {len(self.milestones)} milestones"
            raise self.refuse(text, expected="one scheduler more than milestones")
        self.adopt(self.parts)

    def _per_milestone(self, given: object) -> list[bool]:
        count = len(self.milestones)
        flags: list[Any] = list(given) if isinstance(given, list | tuple) else [given] * count
        if not isinstance(given, bool | list | tuple) or not all(isinstance(flag, bool) for flag in flags):
            text = f"{type(self).__name__}: interval_rescaling={given!r} is no bool"
            expected = "True or False, or a list of one per milestone"
            raise ArgumentTypeError(message(text, expected=expected, here=f"at {self.location}"))
        if len(flags) != count:
            text = f"interval_rescaling={given!r} has {len(flags)} flags for {count} milestones"
            raise self.refuse(text, expected=f"a list of {count}")
        return flags

    def rate(self, base: Tensor, step: Tensor) -> Tensor:
        """The rate of the first group."""
        return self.rate_for(0, base, step)

    def value_for(self, name: str, group: int, base: Tensor, step: Tensor) -> Tensor:
        """A number of a group at a step."""
        result = self.parts[0].value_for(name, group, base, step)
        for milestone, part, rescaled in zip(self.milestones, self.parts[1:], self._rescaled, strict=True):
            # a schedule never sees a step before its first
            own = step if self.global_steps and not rescaled else maximum(step - milestone, 0.0)
            result = where(step < milestone, result, part.value_for(name, group, base, own))
        return result


class ChainedScheduler(Composition):
    """Schedules that act together: each on the rate that the one before it makes.

        rate = s_n(... s_2(s_1(b, k), k) ..., k)

    Args:
        schedulers: Schedulers of one optimizer.
        last_step: See :class:`LRScheduler`, for this and the arguments that follow.
        optimizer: Their optimizer; need not be given.

    Example:
        >>> import lazyflow as lf
        >>> from lazyflow import optim
        >>> from lazyflow.optim.lr_scheduler import ConstantLR, ExponentialLR
        >>> optimizer = optim.SGD([lf.Parameter([0.0], name="w")], lr=1.0)
        >>> parts = [ConstantLR(optimizer, factor=0.5, total_iters=2), ExponentialLR(optimizer, gamma=0.5)]
        >>> ChainedScheduler(parts).curve(4)
        array([0.5  , 0.25 , 0.25 , 0.125])
    """

    schedulers: Any = required()
    optimizer: Any = argument(default=None, kw_only=True)

    def find_optimizer(self, given: dict[str, Any]) -> Optimizer:
        """The optimizer of the schedulers."""
        self.parts = listed(self, given["schedulers"])
        if given["optimizer"] is None:
            return self.parts[0].optimizer
        return super().find_optimizer(given)

    def check(self) -> None:
        """Take the schedulers over."""
        self.adopt(self.parts)

    def rate(self, base: Tensor, step: Tensor) -> Tensor:
        """The rate of the first group."""
        return self.rate_for(0, base, step)

    def value_for(self, name: str, group: int, base: Tensor, step: Tensor) -> Tensor:
        """A number of a group at a step."""
        for part in self.parts:
            base = part.value_for(name, group, base, step)
        return base


def listed(scheduler: LRScheduler, given: object) -> list[LRScheduler]:
    """The schedulers that an argument means.

    Raises:
        ArgumentError: if it is no list of schedulers, or empty.
    """
    kind, here = type(scheduler).__name__, f"at {scheduler.location}"
    expected = "a list of schedulers of one optimizer"
    if not isinstance(given, list | tuple):
        text = f"{kind}: schedulers={given!r} is no list"
        raise ArgumentTypeError(message(text, expected=expected, here=here))
    for place, part in enumerate(given):
        if not isinstance(part, LRScheduler):
            text = f"{kind}: schedulers[{place}]={part!r} is no scheduler"
            raise ArgumentTypeError(message(text, expected=expected, here=here))
    if not given:
        raise scheduler.refuse("schedulers=[] is empty", expected=expected)
    return list(given)
