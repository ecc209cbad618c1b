"""Schedule-free AdamW."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from lazyflow.location import user_line
from lazyflow.ops.elementwise import minimum, sqrt, where
from lazyflow.optim.optimizer import Optimizer, State
from lazyflow.optim.options import Option, Pair, Scalar
from lazyflow.optim.reading import read_with
from lazyflow.optim.trace import Next
from lazyflow.runtime.errors import ArgumentError, GraphError, message
from lazyflow.tensor import Tensor
from lazyflow.variable import Parameter


class ScheduleFreeAdamW(Optimizer):
    """Schedule-free AdamW: averages its iterates in place of a schedule that ends at a known step.

    With gradient g, taken at y, learning rate lr, and step t from 1:

        y = (1 - beta1) * z + beta1 * x
        v = beta2 * v + (1 - beta2) * g * g
        e = lr * sqrt(1 - beta2**t) * min(1, t / warmup_steps)
        z = z - e * (g / (sqrt(v) + eps) + weight_decay * y)
        c = e**2 / (sum of all e**2 so far)
        x = (1 - c) * x + c * z

    The parameter is y, where the gradient is taken; x, the average, is what to evaluate. Per parameter one
    variable is kept besides v, the lead d = y - z: it is 0 at first, so that weights may be loaded before the
    first step. With s = e * (g / (sqrt(v) + eps) + weight_decay * y) the lines above are

        y = y - (1 - (1 - c) * beta1) * s - c * d
        d = (1 - c) * (d + beta1 * s)
        x = y + (1 - beta1) / beta1 * d

    Args:
        params: Parameters, or dicts with the key "params" and options of their own.
        lr: Learning rate, >= 0; constant, unless a scheduler is given nevertheless.
        betas: How much of the average is in y, in (0, 1), and of the second moment stays, in [0, 1). What is
            kept depends on them: they are structure, which a live session cannot change.
        eps: Added to the uncorrected root, >= 0.
        weight_decay: Share of y that each step takes away, times e, >= 0.
        warmup_steps: Updates in which the rate rises to lr, >= 0.

    Example:
        >>> import lazyflow as lf
        >>> from lazyflow import optim
        >>> with lf.Graph() as graph:
        ...     w = lf.Parameter([5.0], name="w")
        ...     loss = ((w - 3.0) ** 2).sum()
        ...     optimizer = optim.ScheduleFreeAdamW([w], lr=0.5)
        ...     with graph.program("train"):
        ...         loss.backward()
        ...         optimizer.step()
        ...     _ = graph.program("evaluate", fetches={"loss": optimizer.averaged(loss)})

    Source: Defazio et al., "The Road Less Scheduled", 2024, Algorithm 1; the authors' code divides v by its
    correction where the paper multiplies the rate, and weighs by the largest rate so far.
    """

    decoupled = True

    lr: Option[Scalar] = Option(default=0.0025, low=0.0)
    betas: Option[Pair] = Option(default=(0.9, 0.999), low=0.0, below=1.0, fixed=True)
    eps: Option[Scalar] = Option(default=1e-8, low=0.0)
    weight_decay: Option[Scalar] = Option(default=0.0, low=0.0)
    warmup_steps: Option[Scalar] = Option(default=0.0, low=0.0)

    def check(self, h: SimpleNamespace, owner: str) -> None:
        if h.betas[0] == 0:
            text = (
                f"{owner}: betas={h.betas!r}: the average cannot be had from a parameter that has none of it"
            )
            raise ArgumentError(message(text, expected="betas[0] in (0, 1)", here=f"at {self.location}"))

    def state(self, h: Any) -> tuple[str, ...]:
        return ("exp_avg_sq", "lead")

    def group_state(self, h: Any) -> dict[str, float]:
        return {"weight_sum": 0.0}

    def next_group_state(self, lr: Tensor, t: Tensor, h: Any) -> dict[str, Tensor]:
        return {"weight_sum": h.weight_sum + _rate(lr, t, h) ** 2}

    def update(self, p: Tensor, g: Tensor, lr: Tensor, t: Tensor, state: State, h: Any) -> Next:
        v, d = state
        beta1, beta2 = h.betas
        v = beta2 * v + (1 - beta2) * g * g
        e = _rate(lr, t, h)
        weights = h.weight_sum + e**2
        c = where(weights > 0.0, e**2 / where(weights > 0.0, weights, 1.0), 0.0)
        s = e * (g / (sqrt(v) + h.eps) + h.weight_decay * p)
        return p - (1 - (1 - c) * beta1) * s - c * d, (v, (1 - c) * (d + beta1 * s))

    def averaged(self, tensor: Tensor) -> Tensor:
        """A tensor as the averages make it: what to evaluate.

        Appends the ops behind it once more, with x in place of each parameter that has been updated so far in
        the graph; so it comes after ``step()``. Nothing is copied and no mode is switched: training goes on.

        Args:
            tensor: What follows from the parameters, logits or a loss, say; or one of them.

        Returns:
            A Tensor of its shape and dtype.

        Raises:
            GraphError: if ``step()`` was not called yet.
        """
        if not self._state:
            text = f"averaged: {self.name!r} keeps no averages yet"
            hint = "optimizer.step() in a program first: what it updates has an average"
            raise GraphError(message(text, made=f"at {self.location}", here=f"at {user_line()}", hint=hint))
        averages: dict[Tensor, Tensor] = {}
        for group in self.param_groups:
            beta1, _ = group["betas"]
            for parameter in (p for p in group.params if p in self._state):
                averages[parameter] = self._average(parameter, beta1)
        return read_with(tensor, averages)

    def _average(self, parameter: Parameter, beta1: float) -> Tensor:
        _, d = self._state[parameter]
        return parameter + (1 - beta1) / beta1 * d


def _rate(lr: Tensor, t: Tensor, h: Any) -> Tensor:
    warm = h.warmup_steps > 0.0
    share = where(warm, minimum(t / where(warm, h.warmup_steps, 1.0), 1.0), 1.0)
    rate: Tensor = lr * share * (1.0 - h.betas[1] ** t) ** 0.5
    return rate
