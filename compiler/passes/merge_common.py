"""Common subexpressions become one."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np

from lazyflow.compiler.graph import Graph, Op, Value
from lazyflow.compiler.rewrite import Builder, rewrite


def merge_common(graph: Graph) -> Graph:
    """Let ops of one primitive with the same inputs and attributes be one op: the first of them.

    Constants are the same where their bits are, placeholders where their names are, and reads of a variable
    where the Variable is. Effects are never merged.

    >>> from lazyflow.compiler.text import from_text, to_text
    >>> print(to_text(merge_common(from_text('''
    ...     %0 = placeholder name=x : float32[4]
    ...     %1 = exp %0 : float32[4]
    ...     %2 = exp %0 : float32[4]
    ...     %3 = add %1 %2 : float32[4]
    ...     fetch y = %3'''))))
    %0 = placeholder name=x : float32[4]
    %1 = exp %0 : float32[4]
    %2 = add %1 %1 : float32[4]
    fetch y = %2
    """
    seen: dict[Hashable, Value] = {}

    def merge(op: Op, builder: Builder) -> Value | None:
        attributes = op.attributes
        key = (op.primitive, op.inputs, *[_identity(attributes[name]) for name in op.primitive.attributes])
        first = seen.setdefault(key, op.output)
        return None if first is op.output else first

    return rewrite(graph, merge, bodies=merge_common)


def _identity(value: Any) -> Hashable:
    if isinstance(value, np.ndarray):
        return value.dtype, value.shape, value.tobytes()
    # as keys, 1, 1.0 and True would be one, and 0.0 and -0.0
    return repr(value) if isinstance(value, float | int) else value
