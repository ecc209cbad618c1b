"""Loss scaling: a loss made larger, so that small gradients of half types do not vanish."""

from __future__ import annotations

from lazyflow.context import ProgramContext, current_graph
from lazyflow.location import user_line
from lazyflow.ops.comparison import isfinite
from lazyflow.ops.elementwise import cast, where
from lazyflow.optim.groups import stored
from lazyflow.optim.options import checked_integer, checked_number
from lazyflow.runtime.dtypes import DType, float32, float64, int64, is_floating
from lazyflow.runtime.errors import ArgumentError, ArgumentTypeError, message
from lazyflow.tensor import Tensor
from lazyflow.variable import Variable


class StaticLossScaler:
    """A loss scale that stays as it is.

    ``scaler.scale(loss).backward()``, then ``optimizer.step(loss_scale=scaler)``, which takes the scale out
    of the gradients again, inside the update.

    Args:
        scale: What the loss is multiplied with, > 0; powers of 2 round nothing.
        name: The prefix of its variables' names.

    Attributes:
        factor: The scale, a float64 scalar variable: NAME/scale.
        used: Whether a loss was scaled.
    """

    def __init__(self, scale: float, *, name: str = "loss_scaler") -> None:
        self.location = user_line()
        self.used = False
        self.name = _checked_name(name, type(self).__name__)
        first = checked_number("scale", scale, type(self).__name__, self.location, above=0.0)
        self.factor = self._variable("scale", first, float64)

    def _variable(self, key: str, initial: float, dtype: DType) -> Variable:
        return stored(lambda: self.name, key, self.location, initial, (), dtype)

    def scale(self, loss: Tensor) -> Tensor:
        """The loss times the scale: what to differentiate.

        Args:
            loss: Floating Tensor of any shape.

        Returns:
            Tensor of the loss's shape and dtype.
        """
        if not isinstance(loss, Tensor) or not is_floating(loss.dtype):
            found = loss.describe() if isinstance(loss, Tensor) else repr(loss)
            text = f"{type(self).__name__}.scale: the loss is no floating Tensor"
            raise ArgumentTypeError(message(text, got=found, here=f"at {user_line()}"))
        self.used = True
        with current_graph(f"{self.name}.scale()").scoped(self.name):
            return loss * cast(self.factor, loss.dtype)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}, made at {self.location}>"


class LossScaler(StaticLossScaler):
    """A loss scale that grows while gradients are finite, and falls where one is not.

    An update whose gradients are not finite is skipped, and the scale is multiplied with ``backoff_factor``;
    after ``growth_interval`` updates in a row it is multiplied with ``growth_factor``. As PyTorch's
    ``torch.amp.GradScaler`` and OneFlow's ``GradScaler``, but all of it runs in the plan.

    Args:
        init_scale: The first scale, > 0.
        growth_factor: > 1.
        backoff_factor: In (0, 1).
        growth_interval: Updates in a row without a skip after which the scale grows, >= 1.
        name: The prefix of its variables' names.

    Attributes:
        factor: The scale, a float64 scalar variable: NAME/scale.
        growth: The updates since the last change, int64: NAME/growth_tracker.
        skipped: The updates that were skipped, int64: NAME/skipped.

    Example:
        >>> import lazyflow as lf
        >>> from lazyflow import optim
        >>> with lf.Graph() as graph:
        ...     w, x = lf.Parameter([1.0], name="w"), lf.placeholder("x", ())
        ...     optimizer, scaler = optim.SGD([w], lr=0.5), LossScaler(init_scale=8.0, growth_interval=1)
        ...     with graph.program("train"):
        ...         scaler.scale(lf.sum(w * x)).backward()
        ...         optimizer.step(loss_scale=scaler)
        >>> session = lf.compile(graph).session(backend="numpy")
        >>> for x in (1.0, float("inf")):
        ...     _ = session.run("train", x=x)
        ...     print(session.get("w"), session.get("loss_scaler/scale"))
        [0.5] 16.0
        [0.5] 8.0
    """

    def __init__(
        self,
        init_scale: float = 2.0**16,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        *,
        name: str = "loss_scaler",
    ) -> None:
        kind, here = type(self).__name__, user_line()
        super().__init__(checked_number("init_scale", init_scale, kind, here, above=0.0), name=name)
        self.location = here
        self.growth_factor = checked_number("growth_factor", growth_factor, kind, here, above=1.0)
        self.backoff_factor = checked_number(
            "backoff_factor", backoff_factor, kind, here, above=0.0, below=1.0
        )
        self.growth_interval = checked_integer("growth_interval", growth_interval, kind, here, low=1)
        self.growth = self._variable("growth_tracker", 0, int64)
        self.skipped = self._variable("skipped", 0, int64)

    def append_next(self, program: ProgramContext, finite: Tensor, when: Tensor | None) -> None:
        """Append to the open program how the scale moves.

        Args:
            program: The open program.
            finite: The bool scalar that says whether all gradients are finite.
            when: Whether an update was attempted; None: in every run.

        Raises:
            ArgumentError: if the program moves the scale already.
        """
        if self.factor.ir in program.assigned_at:
            text = f"{self.name}: program {program.ir.name!r} assigns the scale itself"
            raise ArgumentError(message(text, made=f"at {self.location}", here=f"at {user_line()}"))
        full = self.growth + 1 >= self.growth_interval
        larger = self.factor * self.growth_factor
        fits = isfinite(cast(larger, float32))  # what losses are made of
        larger = where(fits, larger, self.factor)
        grown = where(full, larger, self.factor)
        self.factor.assign(where(finite, grown, self.factor * self.backoff_factor), when=when)
        self.growth.assign(where(finite & ~full, self.growth + 1, 0), when=when)
        self.skipped.assign(where(finite, self.skipped, self.skipped + 1), when=when)


def _checked_name(name: object, kind: str) -> str:
    if not isinstance(name, str) or not name:
        raise ArgumentTypeError(f"{kind}: name={name!r} is not a name; expected a string")
    return name
