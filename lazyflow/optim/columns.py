"""The scalars of all groups as columns: float64 tensors with one row per group."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property

from lazyflow.append import as_tensor
from lazyflow.ops.elementwise import cast, clip, where
from lazyflow.ops.shaping import broadcast_to, iota
from lazyflow.optim.clip import (
    clip_coefficients,
    global_coefficient,
    group_norms,
    norm_parts,
    of_members,
)
from lazyflow.optim.groups import Group
from lazyflow.runtime.dtypes import float64, int32
from lazyflow.tensor import Tensor


class Columns:
    """The columns of one step, each made when the first rule asks for it.

    Args:
        groups: The groups of the optimizer: the rows.
        gradients: Makes the gradient of each parameter, and the int32 scalar that holds its group.
        scalars: What is one number for all groups, float64 scalars by name: "t", and those of the recipe.
    """

    def __init__(
        self,
        groups: Sequence[Group],
        gradients: Callable[[], Sequence[tuple[Tensor, Tensor]]],
        scalars: Mapping[str, Tensor],
    ) -> None:
        self._groups = groups
        self._gradients = gradients
        self._scalars = scalars
        self._made: dict[tuple[str, float], Tensor] = {}
        self._parts: dict[float, Tensor] = {}

    def of(self, name: str, group: Group) -> Tensor:
        """A scalar of a rule, for all groups.

        Args:
            name: One of ``scalars``, "lr", "clip", an option, OPTION/INDEX, or what is kept for each group.
            group: One whose update follows the rule.
        """
        p = group["clip_grad_norm_type"] if name == "clip" else 0.0  # a column for each kind of norm
        if (name, p) not in self._made:
            self._made[name, p] = self._clip(p) if name == "clip" else self.column(name)
        return self._made[name, p]

    def column(self, name: str) -> Tensor:
        """A number of each group, by name."""
        if name in self._scalars:
            return broadcast_to(self._scalars[name], (len(self._groups),))
        return _column([self._scalar(name, group) for group in self._groups])

    def _scalar(self, name: str, group: Group) -> Tensor:
        """The scalar of one group; 0 in a group without the term, which no rule of that group reads."""
        if name == "lr":
            return cast(group["lr"], float64)
        if name not in group.kept and not group.is_number(name.partition("/")[0]):
            return as_tensor(0.0, float64)
        return group.scalar(name)

    @cached_property
    def factor(self) -> Tensor:
        """What the gradients of each group are multiplied with before they are clipped."""
        factor = self.column("scale")
        unscale = self._scalars.get("recipe/unscale")
        return factor if unscale is None else factor * unscale

    @cached_property
    def scaled(self) -> tuple[Tensor, ...]:
        """The gradients times their factors, in float64: what is clipped by value."""
        gradients, members = zip(*self._gradients(), strict=True)
        factors = of_members(self.factor, members)
        return tuple(cast(each, float64) * factors[index] for index, each in enumerate(gradients))

    def parts(self, p: float) -> Tensor:
        """What each gradient, clipped by value if it is, adds to a p-norm, (parameters,)."""
        if p not in self._parts:
            limit = self._scalars.get("recipe/clip_value")
            gradients = [gradient for gradient, _ in self._gradients()]
            if limit is not None:
                gradients = [clip(each, -limit, limit) for each in self.scaled]
            self._parts[p] = norm_parts(gradients, p)
        return self._parts[p]

    def _clip(self, p: float) -> Tensor:
        """What the gradients are multiplied with behind all else, so that norms keep their limits."""
        members = [member for _, member in self._gradients()]
        highest = self._scalars.get("recipe/clip_norm")
        p = p if highest is None else 2.0
        factor = self.factor
        if "recipe/clip_value" in self._scalars:
            factor = broadcast_to(as_tensor(1.0, float64), factor.shape)
        norms = group_norms(self.parts(p), members, len(self._groups), p)
        if highest is None:
            return clip_coefficients(norms, self.column("clip_grad_max_norm"), factor)
        return global_coefficient(norms, highest, factor, self.column("frozen"))


def _column(scalars: Sequence[Tensor]) -> Tensor:
    """Scalars as a tensor of shape (groups,): chosen by row, so that it fuses with what follows."""
    shape = (len(scalars),)
    row = iota(shape, dtype=int32)
    column = broadcast_to(scalars[-1], shape)
    for index, scalar in enumerate(scalars[:-1]):
        column = where(row == index, scalar, column)
    return column
