"""Schedules that rise again: warm restarts, triangles, and one cycle."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

from lazyflow.append import constant
from lazyflow.ops.elementwise import cos, minimum, where
from lazyflow.ops.reduction import sum as total
from lazyflow.optim.lr_scheduler.lambdas import describe
from lazyflow.optim.lr_scheduler.momentum import CyclesMomentum
from lazyflow.optim.lr_scheduler.scheduler import LRScheduler
from lazyflow.optim.lr_scheduler.settings import Choice, Flag, Integer, Number, PerGroup
from lazyflow.optim.lr_scheduler.tracing import trace, try_out
from lazyflow.optim.options import argument
from lazyflow.runtime.dtypes import float64
from lazyflow.runtime.errors import ArgumentTypeError, message
from lazyflow.tensor import Tensor

_FAR = 2**53  # no step is beyond: up to here float64 counts


class CosineAnnealingWarmRestarts(LRScheduler):
    """Half a cosine down, again and again, over cycles that grow.

    Cycle i, from 0, has T_0 * T_mult ** i steps. At step t of it, of n:

        rate = eta_min + (b * decay_rate ** i - eta_min) * 0.5 * (1 + cos(pi * t / n))

    Cycles are counted in integers; OneFlow's logarithm rounds wrongly (T_0=1, T_mult=3, step 121).

    Args:
        optimizer: The optimizer whose rates it makes.
        T_0: Steps of the first cycle, >= 1.
        T_mult: How many times longer each cycle is than the one before it, >= 1.
        eta_min: The lowest rate, >= 0.
        decay_rate: Factor of the highest rate from one cycle to the next, > 0.
        restart_limit: The number of cycles, after which the rate is eta_min, >= 0; 0: no limit.
        last_step: See :class:`LRScheduler`, for this and the arguments that follow.

    Source: Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", 2017.
    """

    T_0: Integer[int] = Integer(low=1)
    T_mult: Integer[int] = Integer(default=1, low=1)
    eta_min: Number[float] = Number(default=0.0, low=0.0)
    decay_rate: Number[float] = Number(default=1.0, above=0.0)
    restart_limit: Integer[int] = Integer(default=0, low=0)

    def rate(self, base: Tensor, step: Tensor) -> Tensor:
        """The rate of a group."""
        cycle, within, length = self._position(step)
        top = base if self.decay_rate == 1.0 else base * self.decay_rate**cycle
        rate = self.eta_min + (top - self.eta_min) * 0.5 * (1.0 + cos(math.pi * (within / length)))
        return rate if self.restart_limit == 0 else where(cycle < self.restart_limit, rate, self.eta_min)

    def _position(self, step: Tensor) -> tuple[Tensor, Tensor, Tensor | int]:
        """The cycle's number, the step inside of it, and its length: sums of integers, exact in float64."""
        if self.T_mult == 1:
            return step // self.T_0, step % self.T_0, self.T_0
        lengths = [self.T_0]
        ends = [self.T_0]
        while ends[-1] <= _FAR:
            lengths.append(lengths[-1] * self.T_mult)
            ends.append(ends[-1] + lengths[-1])
        over = constant(ends[:-1], float64) <= step
        longer = [after - before for before, after in pairwise(lengths)]

        def gathered(parts: list[int]) -> Tensor:
            return total(where(over, constant(parts, float64), 0.0))

        cycle, start = gathered([1] * len(longer)), gathered(lengths[:-1])
        return cycle, step - start, self.T_0 + gathered(longer)


class CyclicLR(CyclesMomentum):
    """Triangles between two rates.

    With s(i) = 1 ("triangular"), 1 / 2 ** i ("triangular2") or gamma ** k ("exp_range") in cycle i, from 0:

        rate = base_lr + (max_lr - base_lr) * x * s(i)

    where x goes from 0 to 1 in step_size_up steps and back in step_size_down. With cycle_momentum,

        momentum = max_momentum - (max_momentum - base_momentum) * x * s(i)

    Args:
        optimizer: The optimizer whose rates it makes.
        base_lr: The lower rate, >= 0, or a list of one per group; None: each group's base rate.
        max_lr: The upper rate, >= 0, or a list of one per group.
        step_size_up: Steps on the way up, >= 1.
        step_size_down: Steps on the way down, >= 1; None: as many as up.
        mode: "triangular", "triangular2" or "exp_range".
        gamma: Factor of a step in "exp_range", > 0.
        scale_fn: A function to use in place of s, or None. It is traced as that of LambdaLR is.
        scale_mode: What ``scale_fn`` gets: "cycle", the cycle's number from 1, or "iterations", the step.
        cycle_momentum: Whether the optimizer's momentum, or the first of its betas, cycles against the rate.
        base_momentum: The lower momentum, in the optimizer's range, or a list of one per group.
        max_momentum: The upper momentum, likewise.
        last_step: See :class:`LRScheduler`, for this and the arguments that follow.

    Source: Smith, "Cyclical Learning Rates for Training Neural Networks", 2017.
    """

    base_lr: PerGroup[Any] = PerGroup(low=0.0, or_none=True)
    max_lr: PerGroup[Any] = PerGroup(low=0.0)
    step_size_up: Integer[int] = Integer(default=2000, low=1)
    step_size_down: Integer[int | None] = Integer(default=None, low=1)
    mode: Choice = Choice(default="triangular", others=("triangular2", "exp_range"))
    gamma: Number[float] = Number(default=1.0, above=0.0)
    scale_fn: Callable[[Any], Any] | None = argument(default=None, kw_only=False)
    scale_mode: Choice = Choice(default="cycle", others=("iterations",))
    cycle_momentum: Flag = Flag(default=False)
    base_momentum: PerGroup[Any] = PerGroup(default=0.8, low=0.0)
    max_momentum: PerGroup[Any] = PerGroup(default=0.9, low=0.0)

    def check(self) -> None:
        """Refuse a scale that cannot be called, upper numbers below lower ones, and a momentum not there."""
        self.cycle(self.cycle_momentum, self.base_momentum, self.max_momentum)
        function = self.scale_fn
        if function is not None and not callable(function):
            text = f"{type(self).__name__}: scale_fn={function!r} is no function"
            raise ArgumentTypeError(message(text, expected="a function, or None", here=f"at {self.location}"))
        if function is not None:
            try_out(function, describe(self, function))
        for low, high in zip(self.base_lr, self.max_lr, strict=True):
            if low is not None and high < low:
                raise self.refuse(f"max_lr={high!r} is below base_lr={low!r}", expected="max_lr >= base_lr")

    def rate(self, base: Tensor, step: Tensor) -> Tensor:
        """The rate of the first group."""
        return self.rate_for(0, base, step)

    def rate_for(self, group: int, base: Tensor, step: Tensor) -> Tensor:
        """The rate of a group."""
        lower = base if self.base_lr[group] is None else self.base_lr[group]
        height, scale = self._height(step)
        rate: Tensor = lower + (self.max_lr[group] - lower) * height * scale
        return rate

    def momentum_for(self, group: int, step: Tensor) -> Tensor:
        """The momentum of a group at a step."""
        low, high = self.base_momentum[group], self.max_momentum[group]
        height, scale = self._height(step)
        momentum: Tensor = high - (high - low) * height * scale
        return momentum

    def _height(self, step: Tensor) -> tuple[Tensor, Tensor | float]:
        """How far up in its cycle a step is, from 0 to 1, and the cycle's scale."""
        up = self.step_size_up
        down = up if self.step_size_down is None else self.step_size_down
        cycle, within = step // (up + down), step % (up + down)
        height = where(within <= up, within / up, (up + down - within) / down)
        return height, self._scale(cycle, step)

    def _scale(self, cycle: Tensor, step: Tensor) -> Tensor | float:
        function = self.scale_fn
        if function is not None:
            argument = cycle + 1.0 if self.scale_mode == "cycle" else step
            return trace(lambda: function(argument), describe(self, function))
        if self.mode == "triangular2":
            return 0.5**cycle
        return self.gamma**step if self.mode == "exp_range" else 1.0


class OneCycleLR(CyclesMomentum):
    """Up to the highest rate and down to nearly nothing, once, over the whole training.

    From max_lr / div_factor up to max_lr in the first ``pct_start`` of the steps, then down to
    max_lr / div_factor / final_div_factor; with ``three_phase``, down to the first rate in as many steps as
    up, and then to the last. Past ``total_steps`` the last rate holds. With ``cycle_momentum`` the momentum
    goes from max_momentum down to base_momentum while the rate rises, and back up while it falls.

    Args:
        optimizer: The optimizer whose rates it makes.
        max_lr: The highest rate, >= 0, or a list of one per group; None: each group's base rate.
        total_steps: Steps of the training, >= 2; None: epochs * steps_per_epoch.
        epochs: >= 1, where total_steps is not given.
        steps_per_epoch: >= 1, where total_steps is not given.
        pct_start: Share of the steps on the way up, in [0, 1].
        anneal_strategy: "cos" or "linear".
        cycle_momentum: Whether the optimizer's momentum, or the first of its betas, cycles against the rate.
        base_momentum: The lower momentum, in the optimizer's range, or a list of one per group.
        max_momentum: The upper momentum, likewise.
        div_factor: The highest rate over the first, > 0.
        final_div_factor: The first rate over the last, > 0.
        three_phase: Whether the way down has two parts.
        last_step: See :class:`LRScheduler`, for this and the arguments that follow.

    Source: Smith and Topin, "Super-Convergence: Very Fast Training of Neural Networks Using Large Learning
    Rates", 2018.
    """

    max_lr: PerGroup[Any] = PerGroup(low=0.0, or_none=True)
    total_steps: Integer[int | None] = Integer(default=None, low=2)
    epochs: Integer[int | None] = Integer(default=None, low=1)
    steps_per_epoch: Integer[int | None] = Integer(default=None, low=1)
    pct_start: Number[float] = Number(default=0.3, low=0.0, high=1.0)
    anneal_strategy: Choice = Choice(default="cos", others=("linear",))
    cycle_momentum: Flag = Flag(default=False)
    base_momentum: PerGroup[Any] = PerGroup(default=0.85, low=0.0)
    max_momentum: PerGroup[Any] = PerGroup(default=0.95, low=0.0)
    div_factor: Number[float] = Number(default=25.0, above=0.0)
    final_div_factor: Number[float] = Number(default=1e4, above=0.0)
    three_phase: Flag = Flag(default=False)

    def check(self) -> None:
        """Find the number of steps, and refuse one step, phases that overlap, and a momentum not there."""
        self.cycle(self.cycle_momentum, self.base_momentum, self.max_momentum)
        self._count = self._steps()
        if self._count < 2:
            text = f"epochs * steps_per_epoch={self._count} is out of range"
            raise self.refuse(text, expected="2 steps or more")
        if self.three_phase and self.pct_start > 0.5:
            text = f"pct_start={self.pct_start!r} is out of range with three_phase"
            raise self.refuse(text, expected="a number in [0, 0.5]: up and down take as many steps")

    def _steps(self) -> int:
        if self.total_steps is not None:
            return self.total_steps
        if self.epochs is None or self.steps_per_epoch is None:
            text = f"total_steps=None with epochs={self.epochs}, steps_per_epoch={self.steps_per_epoch}"
            raise self.refuse(text, expected="total_steps, or epochs and steps_per_epoch")
        return self.epochs * self.steps_per_epoch

    @property
    def length(self) -> int | None:
        """The step from which the rate is constant."""
        return self._count - 1

    def rate(self, base: Tensor, step: Tensor) -> Tensor:
        """The rate of the first group."""
        return self.rate_for(0, base, step)

    def rate_for(self, group: int, base: Tensor, step: Tensor) -> Tensor:
        """The rate of a group."""
        high = base if self.max_lr[group] is None else constant(self.max_lr[group], float64)
        first = high / self.div_factor
        return self._through(step, self._phases(first, high, first / self.final_div_factor))

    def momentum_for(self, group: int, step: Tensor) -> Tensor:
        """The momentum of a group at a step."""
        low, high = (constant(m[group], float64) for m in (self.base_momentum, self.max_momentum))
        return self._through(step, self._phases(high, low, high))

    def _through(self, step: Tensor, phases: list[_Phase]) -> Tensor:
        """The number at a step of the phases."""
        done = minimum(step, phases[-1].end)
        result = self._at(done, phases[0])
        for phase in phases[1:]:
            result = where(done <= phase.begin, result, self._at(done, phase))
        return result

    def _phases(self, first: Tensor, high: Tensor, last: Tensor) -> list[_Phase]:
        """The phases that have a step; the first may begin before step 0, as in PyTorch."""
        up, end = self.pct_start * self._count - 1.0, self._count - 1.0
        turns = [(up, first, high), (end, high, last)]
        if self.three_phase:
            turns = [(up, first, high), (2.0 * up, high, first), (end, first, last)]
        begins = [0.0, *(turn for turn, _, _ in turns[:-1])]
        phases = [_Phase(begin, *turn) for begin, turn in zip(begins, turns, strict=True)]
        return [phase for phase in phases if phase.end > max(phase.begin, 0.0)]

    def _at(self, step: Tensor, phase: _Phase) -> Tensor:
        share = (step - phase.begin) / (phase.end - phase.begin)
        if self.anneal_strategy == "cos":
            return phase.after + (phase.before - phase.after) / 2.0 * (cos(math.pi * share) + 1.0)
        return (phase.after - phase.before) * share + phase.before


class _Phase(NamedTuple):
    """A part of the cycle: its first and last step, and the numbers there."""

    begin: float
    end: float
    before: Tensor
    after: Tensor
