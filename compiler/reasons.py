"""Why a pass did what it did, in plain words, for inspection."""

from __future__ import annotations

from collections.abc import Sequence

from lazyflow.compiler.graph import Op
from lazyflow.runtime import schema
from lazyflow.runtime.dimensions import Size


def name_of(op: Op) -> str:
    """The user's name for what an op gives, or its kind. A kernel is called by the last op in it."""
    return op.origins[-1].name if op.origins else op.primitive.name


def reason(decision: str, code: str, text: str, op: Op) -> schema.Reason:
    """The reason for a decision about an op."""
    return schema.Reason(decision=decision, code=code, text=text, about=name_of(op))


def over(extents: Sequence[Size]) -> str:
    """A domain in words.

    >>> over((64, 10)), over(())
    ('[64, 10]', 'one element')
    """
    return f"[{', '.join(map(str, extents))}]" if extents else "one element"
