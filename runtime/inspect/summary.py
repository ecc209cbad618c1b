"""The figures of a plan: what it stores, and for each program its instructions, bytes and memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from lazyflow.runtime import schema
from lazyflow.runtime.dimensions import MAX_EXTENT
from lazyflow.runtime.errors import ArgumentError, ArgumentTypeError, message
from lazyflow.runtime.inspect.figures import ProgramSummary, Stored, program_figures, stored
from lazyflow.runtime.inspect.table import program_lines, weight
from lazyflow.runtime.inspect.words import aligned, counted, humanized
from lazyflow.runtime.values import closest, listed

_ROWS = 16  # instructions that fit on a screen, those of all programs together
_FEWEST = 3  # of each program; the one that moves most bytes shows more


@dataclass(frozen=True)
class Summary:
    """The figures of a plan; ``print`` shows them on one screen.

    Attributes:
        name: The plan's name.
        dimensions: The values given for named dimensions.
        open_dimensions: The names without a value.
        parameters: The trainable variables.
        optimizer_state: What optimizers keep per parameter.
        other_variables: Clocks, learning rates, the random state, and variables of the user's.
        constants: What the plan carries along.
        programs: The programs by name.
    """

    name: str
    dimensions: Mapping[str, int]
    open_dimensions: tuple[str, ...]
    parameters: Stored
    optimizer_state: Stored
    other_variables: Stored
    constants: Stored
    programs: Mapping[str, ProgramSummary]

    def __str__(self) -> str:
        return "\n".join(_lines(self))


def summarize(document: schema.Document, dimensions: Mapping[str, int]) -> Summary:
    """The figures of a plan.

    Args:
        document: The plan.
        dimensions: Values of named dimensions, from 1 to 2**31 - 1; sizes stay polynomials of the others.

    Raises:
        ArgumentError: if the plan has no dimension of that name, or a value is out of range.
        ArgumentTypeError: if a value is no int.
    """
    names = tuple(dict.fromkeys(name for program in document.programs for name in program.dimensions))
    for name, value in dimensions.items():
        _check(name, value, names)
    trained = [v for v in document.variables if v.trainable]
    state = {n for o in document.optimizers for owned in o.state.values() for n in owned}
    kept = [v for v in document.variables if v.name in state and not v.trainable]
    rest = [v for v in document.variables if v.name not in state and not v.trainable]
    return Summary(
        name=document.name,
        dimensions=dict(dimensions),
        open_dimensions=tuple(name for name in names if name not in dimensions),
        parameters=stored(trained),
        optimizer_state=stored(kept),
        other_variables=stored(rest),
        constants=stored(document.constants),
        programs={p.name: program_figures(document, p, dimensions) for p in document.programs},
    )


def _check(name: str, value: object, names: tuple[str, ...]) -> None:
    if name not in names:
        raise ArgumentError(
            message(
                f"summary: no dimension is named {name!r}", expected=listed(names), hint=closest(name, names)
            )
        )
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise ArgumentTypeError(message(f"summary: {name}={value!r} is no int", expected="a size"))
    if not 1 <= value.__index__() <= MAX_EXTENT:
        raise ArgumentError(message(f"summary: {name}={value!r} is out of range", expected="1 to 2**31 - 1"))


def _lines(summary: Summary) -> Iterator[str]:
    given = " ".join(f"{name}={value}" for name, value in summary.dimensions.items())
    yield f'plan "{summary.name}"' + (f"  {given}" if given else "")
    if summary.open_dimensions:
        call = ", ".join(f"{name}=..." for name in summary.open_dimensions)
        yield f"sizes below depend on {', '.join(summary.open_dimensions)}: summary({call}) gives numbers"
    yield ""
    yield from _stored_lines(summary)
    heaviest = max(summary.programs.values(), key=weight, default=None)
    for program in summary.programs.values():
        yield ""
        rest = _ROWS - _FEWEST * (len(summary.programs) - 1)
        yield from program_lines(program, max(_FEWEST, rest if program is heaviest else 0))


def _stored_lines(summary: Summary) -> list[str]:
    groups = {
        "parameters": summary.parameters,
        "optimizer state": summary.optimizer_state,
        "other variables": summary.other_variables,
        "constants": summary.constants,
    }
    rows = [
        (label, f"{group.count:,}", counted(group.elements, "element"), humanized(group.bytes))
        for label, group in groups.items()
        if group.count
    ]
    return aligned(rows, right=(1, 2, 3)) if rows else ["nothing is stored"]
