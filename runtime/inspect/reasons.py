"""Why the compiler did what it did: the reasons that its passes left in a plan."""

from __future__ import annotations

from lazyflow.runtime import schema
from lazyflow.runtime.inspect.words import aligned


def explain(document: schema.Document, about: str = "") -> str:
    """The reasons, grouped by the pass that decided.

    Args:
        document: The plan.
        about: Only the reasons in whose text, code or op this occurs; all unless given.

    Returns:
        A line per reason: its code, the op that it is about, and plain words.

    >>> reason = schema.Reason(decision="fuse", code="joined", text="reads what sub writes", about="square")
    >>> print(explain(schema.Document(name="digits", reasons=(reason,))))
    fuse
      joined  square  reads what sub writes
    """
    groups: dict[str, list[tuple[str, str, str]]] = {}
    for reason in document.reasons:
        row = (reason.code, reason.about, reason.text)
        if any(about in part for part in row):
            groups.setdefault(reason.decision, []).append(row)
    if not groups:
        return f"no reason speaks of {about!r}" if about else "the plan holds no reasons"
    lines = []
    for decision, rows in groups.items():
        lines.append(decision)
        lines += [f"  {line}" for line in aligned(rows)]
    return "\n".join(lines)
