"""The scalars of all groups as columns: float64 tensors with one row per group."""

from __future__ import annotations

from collections.abc import Sequence

from lazyflow.append import as_tensor
from lazyflow.ops.elementwise import cast, where
from lazyflow.ops.shaping import broadcast_to, iota
from lazyflow.optim.clip import clip_coefficients, group_norms
from lazyflow.optim.groups import Group
from lazyflow.runtime.dtypes import float64, int32
from lazyflow.tensor import Tensor


class Columns:
    """The columns of one step, each made when the first rule asks for it.

    Args:
        groups: The groups of the optimizer: the rows.
        gradients: Each gradient of the step, and the int32 scalar that holds its parameter's group.
        t: The number of this update, a float64 scalar.
    """

    def __init__(
        self, groups: Sequence[Group], gradients: Sequence[tuple[Tensor, Tensor]], t: Tensor
    ) -> None:
        self._groups = groups
        self._gradients = gradients
        self._t = t
        self._made: dict[tuple[str, float], Tensor] = {}

    def of(self, name: str, group: Group) -> Tensor:
        """A scalar of a rule, for all groups.

        Args:
            name: "t", "lr", "clip", an option, OPTION/INDEX, or what is kept for each group.
            group: One whose update follows the rule.
        """
        p = group["clip_grad_norm_type"] if name == "clip" else 0.0  # a column for each kind of norm
        if (name, p) not in self._made:
            self._made[name, p] = self._clip(p) if name == "clip" else self._column(name)
        return self._made[name, p]

    def _column(self, name: str) -> Tensor:
        if name == "t":
            return broadcast_to(self._t, (len(self._groups),))
        return _column([self._scalar(name, group) for group in self._groups])

    def _scalar(self, name: str, group: Group) -> Tensor:
        """The scalar of one group; 0 in a group without the term, which no rule of that group reads."""
        if name == "lr":
            return cast(group["lr"], float64)
        if name not in group.kept and not group.is_number(name.partition("/")[0]):
            return as_tensor(0.0, float64)
        return group.scalar(name)

    def _clip(self, p: float) -> Tensor:
        gradients, members = zip(*self._gradients, strict=True)
        norms = group_norms(gradients, members, len(self._groups), p)
        return clip_coefficients(norms, self._column("clip_grad_max_norm"), self._column("scale"))


def _column(scalars: Sequence[Tensor]) -> Tensor:
    """Scalars as a tensor of shape (groups,): chosen by row, so that it fuses with what follows."""
    shape = (len(scalars),)
    row = iota(shape, dtype=int32)
    column = broadcast_to(scalars[-1], shape)
    for index, scalar in enumerate(scalars[:-1]):
        column = where(row == index, scalar, column)
    return column
