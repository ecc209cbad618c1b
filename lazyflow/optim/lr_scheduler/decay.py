"""Schedules that go down, step by step or smoothly, and stay."""

from __future__ import annotations

import math

from lazyflow.append import constant
from lazyflow.ops.elementwise import cast, ceil, cos, maximum, minimum
from lazyflow.ops.reduction import sum as total
from lazyflow.optim.lr_scheduler.scheduler import LRScheduler
from lazyflow.optim.lr_scheduler.settings import Flag, Integer, Milestones, Number
from lazyflow.runtime.dtypes import float64
from lazyflow.tensor import Tensor


class CosineDecayLR(LRScheduler):
    """Half a cosine from the base rate down to ``alpha`` times it, where it stays.

    With base rate b, step k and n = decay_steps:

        rate = b * ((1 - alpha) * 0.5 * (1 + cos(pi * min(k, n) / n)) + alpha)

    Args:
        optimizer: The optimizer whose rates it makes.
        decay_steps: The step at which the rate is lowest, >= 1.
        alpha: The lowest rate, as a fraction of the base rate, in [0, 1].
        last_step: See :class:`LRScheduler`, for this and the arguments that follow.

    Example:
        >>> import lazyflow as lf
        >>> from lazyflow import optim
        >>> optimizer = optim.SGD([lf.Parameter([0.0], name="w")], lr=1.0)
        >>> CosineDecayLR(optimizer, decay_steps=4, alpha=0.5).curve(6).round(3)
        array([1.   , 0.927, 0.75 , 0.573, 0.5  , 0.5  ])

    Source: Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", 2017; without
    restarts.
    """

    decay_steps: Integer[int] = Integer(low=1)
    alpha: Number[float] = Number(default=0.0, low=0.0, high=1.0)

    @property
    def length(self) -> int | None:
        """The step from which the rate is constant."""
        return self.decay_steps

    def rate(self, base: Tensor, step: Tensor) -> Tensor:
        """The rate of a group."""
        return cosine_decay(base, step, self.decay_steps, self.alpha)


class CosineAnnealingLR(LRScheduler):
    """Half a cosine from the base rate down to ``alpha`` times it, where it stays.

    As :class:`CosineDecayLR`, under the name and with the arguments of OneFlow's first experimental API. For
    the schedule that PyTorch and later OneFlow call so, which rises again, see :class:`CosineLR`.

    Args:
        optimizer: The optimizer whose rates it makes.
        steps: The step at which the rate is lowest, >= 1.
        alpha: The lowest rate, as a fraction of the base rate, in [0, 1].
        last_step: See :class:`LRScheduler`, for this and the arguments that follow.
    """

    steps: Integer[int] = Integer(low=1)
    alpha: Number[float] = Number(default=0.0, low=0.0, high=1.0)

    @property
    def length(self) -> int | None:
        """The step from which the rate is constant."""
        return self.steps

    def rate(self, base: Tensor, step: Tensor) -> Tensor:
        """The rate of a group."""
        return cosine_decay(base, step, self.steps, self.alpha)


def cosine_decay(base: Tensor, step: Tensor, steps: int, alpha: float) -> Tensor:
    """Half a cosine from ``base`` to ``alpha * base``, and then that."""
    progress = minimum(step / steps, 1.0)
    return base * ((1.0 - alpha) * 0.5 * (1.0 + cos(math.pi * progress)) + alpha)


class CosineLR(LRScheduler):
    """A cosine between the base rate and ``eta_min`` that rises again after ``T_max`` steps.

        rate = eta_min + (b - eta_min) * 0.5 * (1 + cos(pi * k / T_max))

    Args:
        optimizer: The optimizer whose rates it makes.
        T_max: Half the period in steps, >= 1.
        eta_min: The lowest rate, >= 0.
        last_step: See :class:`LRScheduler`, for this and the arguments that follow.
    """

    T_max: Integer[int] = Integer(low=1)
    eta_min: Number[float] = Number(default=0.0, low=0.0)

    def rate(self, base: Tensor, step: Tensor) -> Tensor:
        """The rate of a group."""
        within = step % (2 * self.T_max)  # so that the cosine is as exact late as early
        return self.eta_min + (base - self.eta_min) * 0.5 * (1.0 + cos(math.pi * within / self.T_max))


class StepLR(LRScheduler):
    """The base rate times ``gamma`` once for every ``step_size`` steps.

        rate = b * gamma ** (k // step_size)

    Args:
        optimizer: The optimizer whose rates it makes.
        step_size: Steps between two changes, >= 1.
        gamma: Factor of a change, > 0.
        last_step: See :class:`LRScheduler`, for this and the arguments that follow.

    Example:
        >>> import lazyflow as lf
        >>> from lazyflow import optim
        >>> optimizer = optim.SGD([lf.Parameter([0.0], name="w")], lr=1.0)
        >>> StepLR(optimizer, step_size=2, gamma=0.5).curve(5)
        array([1.  , 1.  , 0.5 , 0.5 , 0.25])
    """

    step_size: Integer[int] = Integer(low=1)
    gamma: Number[float] = Number(default=0.1, above=0.0)

    def rate(self, base: Tensor, step: Tensor) -> Tensor:
        """The rate of a group."""
        return base * self.gamma ** (step // self.step_size)


class MultiStepLR(LRScheduler):
    """The base rate times ``gamma`` once for each milestone that is reached.

        rate = b * gamma ** (number of milestones <= k)

    Args:
        optimizer: The optimizer whose rates it makes.
        milestones: Steps in increasing order, each >= 0.
        gamma: Factor of a change, > 0.
        last_step: See :class:`LRScheduler`, for this and the arguments that follow.
    """

    milestones: Milestones[tuple[int, ...]] = Milestones(low=0)
    gamma: Number[float] = Number(default=0.1, above=0.0)

    def rate(self, base: Tensor, step: Tensor) -> Tensor:
        """The rate of a group."""
        if not self.milestones:
            return base
        reached = constant(self.milestones, float64) <= step
        return base * self.gamma ** total(cast(reached, float64))


class ExponentialLR(LRScheduler):
    """The base rate times ``gamma`` once for every step.

        rate = b * gamma ** k

    Args:
        optimizer: The optimizer whose rates it makes.
        gamma: Factor of a step, > 0.
        last_step: See :class:`LRScheduler`, for this and the arguments that follow.
    """

    gamma: Number[float] = Number(above=0.0)

    def rate(self, base: Tensor, step: Tensor) -> Tensor:
        """The rate of a group."""
        return base * self.gamma**step


class ConstantLR(LRScheduler):
    """The base rate times ``factor`` until step ``total_iters``, then the base rate.

    Args:
        optimizer: The optimizer whose rates it makes.
        factor: In [0, 1].
        total_iters: The first step with the base rate, >= 0.
        last_step: See :class:`LRScheduler`, for this and the arguments that follow.
    """

    factor: Number[float] = Number(default=1.0 / 3, low=0.0, high=1.0)
    total_iters: Integer[int] = Integer(default=5, low=0)

    def rate(self, base: Tensor, step: Tensor) -> Tensor:
        """The rate of a group."""
        return base * self.factor if step < self.total_iters else base


class LinearLR(LRScheduler):
    """A line from ``start_factor`` to ``end_factor`` times the base rate, over ``total_iters`` steps.

        rate = b * (start_factor + (end_factor - start_factor) * min(k, n) / n),   n = total_iters

    Args:
        optimizer: The optimizer whose rates it makes.
        start_factor: In [0, 1].
        end_factor: In [0, 1].
        total_iters: The step from which the rate is constant, >= 1.
        last_step: See :class:`LRScheduler`, for this and the arguments that follow.
    """

    start_factor: Number[float] = Number(default=1.0 / 3, low=0.0, high=1.0)
    end_factor: Number[float] = Number(default=1.0, low=0.0, high=1.0)
    total_iters: Integer[int] = Integer(default=5, low=1)

    def rate(self, base: Tensor, step: Tensor) -> Tensor:
        """The rate of a group."""
        progress = minimum(step, self.total_iters) / self.total_iters
        return base * (self.start_factor + (self.end_factor - self.start_factor) * progress)


class PolynomialLR(LRScheduler):
    """A power of the remaining share of the steps, from the base rate to ``end_learning_rate``.

        rate = (b - e) * (1 - k / n) ** power + e,   e = end_learning_rate

    With n = decay_batch and k at most n; with ``cycle``, n is the next multiple of decay_batch, the rate
    jumps up behind each, and step 0 has the rate of step 1.

    Args:
        optimizer: The optimizer whose rates it makes.
        decay_batch: Steps of the decay, >= 1.
        end_learning_rate: The last rate, >= 0.
        power: > 0.
        cycle: Whether the decay begins anew, from a lower rate each time.
        last_step: See :class:`LRScheduler`, for this and the arguments that follow.
    """

    decay_batch: Integer[int] = Integer(low=1)
    end_learning_rate: Number[float] = Number(default=1e-4, low=0.0)
    power: Number[float] = Number(default=1.0, above=0.0)
    cycle: Flag = Flag(default=False)

    @property
    def length(self) -> int | None:
        """The step from which the rate is constant."""
        return None if self.cycle else self.decay_batch

    def rate(self, base: Tensor, step: Tensor) -> Tensor:
        """The rate of a group."""
        if self.cycle:
            done = maximum(step, 1.0)
            share = done / (self.decay_batch * ceil(done / self.decay_batch))
        else:
            share = minimum(step, self.decay_batch) / self.decay_batch
        return (base - self.end_learning_rate) * (1.0 - share) ** self.power + self.end_learning_rate
