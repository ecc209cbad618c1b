"""Schedules that also cycle the momentum: low where the rate is high."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from lazyflow.optim.lr_scheduler.driven import why_not
from lazyflow.optim.lr_scheduler.scheduler import LRScheduler
from lazyflow.tensor import Tensor


class CyclesMomentum(LRScheduler, ABC):
    """A schedule that drives a second number: ``momentum``, or ``betas/0`` where the optimizer has betas."""

    @abstractmethod
    def momentum_for(self, group: int, step: Tensor) -> Tensor:
        """The momentum of a group at a step; float64 scalars."""

    @property
    def drives(self) -> tuple[str, ...]:
        """The number that it makes of its base, and the momentum where that cycles."""
        return (self.option, *self._cycled)

    def value_for(self, name: str, group: int, base: Tensor, step: Tensor) -> Tensor:
        """A number of a group at a step."""
        if name in self._cycled:
            return self.momentum_for(group, step)
        return super().value_for(name, group, base, step)

    def cycle(self, wanted: bool, lows: Sequence[float], highs: Sequence[float]) -> None:
        """Find the number that cycles, where one is to.

        Args:
            wanted: Whether it cycles.
            lows: ``base_momentum``, for each group.
            highs: ``max_momentum``, for each group.

        Raises:
            ArgumentError: if a group has no momentum, or it is the option; if a bound is out of the range of
                the optimizer, or the upper one below the lower one.
        """
        self._cycled: tuple[str, ...] = ()
        if not wanted:
            return
        name = self._momentum()
        if name == self.option:
            raise self.refuse(f"option={name!r} and cycle_momentum=True", expected="cycle_momentum=False")
        for low, high in zip(lows, highs, strict=True):
            self._check_bounds(name, low, high)
        self._cycled = (name,)

    def _momentum(self) -> str:
        optimizer = self.optimizer
        name = "betas/0" if "betas" in optimizer.options else "momentum"
        without = [i for i, group in enumerate(optimizer.param_groups) if name not in group.names]
        if not without:
            return name
        expected = "cycle_momentum=False"
        if name not in optimizer.options:
            text = f"cycle_momentum=True, but a {type(optimizer).__name__} has neither momentum nor betas"
            raise self.refuse(text, expected=expected)
        text = f"cycle_momentum=True, but group {without[0]} of {optimizer.name!r} has no momentum"
        raise self.refuse(text, expected=expected, hint=why_not(optimizer, name))

    def _check_bounds(self, name: str, low: float, high: float) -> None:
        option = self.optimizer.options[name.partition("/")[0]]
        lowest, highest, above, below = option.range
        for argument, number in (("base_momentum", low), ("max_momentum", high)):
            inside = float(lowest) <= number <= float(highest)
            excluded = (above and number == lowest) or (below and number == highest)
            if not inside or excluded:
                text = f"{argument}={number!r} is out of range for {name!r}"
                raise self.refuse(text, expected=option.expected)
        if high < low:
            text = f"max_momentum={high!r} is below base_momentum={low!r}"
            raise self.refuse(text, expected="max_momentum >= base_momentum")
