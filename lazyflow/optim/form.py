"""Which terms the body of an update has besides its rule, and what they compute."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

from lazyflow.ops.elementwise import where
from lazyflow.tensor import Tensor

Scalars: TypeAlias = Callable[[str], Tensor]  # the float64 scalars of a rule by name


class Form(NamedTuple):
    """What of a recipe decides the terms of an update: structure, where the recipe's numbers are data.

    Attributes:
        elements: What it reads besides the parameter and its state: "g", "accumulated", or both.
        weighted: Whether "g" is multiplied before it is added to what was accumulated.
        unscaled: Whether the sum is multiplied with more than ``scale``.
        limited: Whether it is clipped by value.
        clipped: Whether it is clipped by the norm over all groups.
        average: The name of the average that is kept, or "".
    """

    elements: tuple[str, ...] = ("g",)
    weighted: bool = False
    unscaled: bool = False
    limited: bool = False
    clipped: bool = False
    average: str = ""

    def total(self, elements: Sequence[Tensor], scalar: Scalars) -> Tensor:
        """The gradient of all micro-batches so far, from the elements."""
        if len(elements) == 1:
            return elements[0]
        g, accumulated = elements
        return accumulated + (g * scalar("recipe/weight") if self.weighted else g)

    def show(self, h: Any, scalar: Scalars) -> None:
        """Let a rule see the recipe in the group: ``h.unscale``, ``h.limit`` and ``h.clip``, or None."""
        clipped = self.clipped or h.clip_grad_max_norm is not None
        h.unscale = scalar("recipe/unscale") if self.unscaled else None
        h.limit = scalar("recipe/clip_value") if self.limited else None
        h.clip = scalar("clip") if clipped else None

    def finished(self, before: Sequence[Tensor], after: Sequence[Tensor], scalar: Scalars) -> list[Tensor]:
        """The next values of all variables: averages follow, and what is frozen stays.

        Args:
            before: The parameter, its state, and the average where there is one.
            after: The next values of the parameter and its state.
            scalar: Makes a scalar of the rule.
        """
        results = list(after)
        if self.average:
            share, average, p = scalar("recipe/share"), before[-1], after[0]
            moved = average + share * (p - average)
            results.append(where(share >= 1.0, p, where(share > 0.0, moved, average)))
        frozen = scalar("frozen") > 0.5
        return [where(frozen, old, new) for old, new in zip(before, results, strict=True)]
