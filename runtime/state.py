"""The variables of a session: one aligned block of memory, described by one table of rows."""

from __future__ import annotations

import math
import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lazyflow.runtime import dtypes, schema
from lazyflow.runtime.backends.backend import aligned, round_up
from lazyflow.runtime.dtypes import DType
from lazyflow.runtime.errors import StateError, message
from lazyflow.runtime.loans import Loan, Loans, check_changeable
from lazyflow.runtime.scalars import number, stored
from lazyflow.runtime.values import Wanted, as_array, closest, in_place, listed, show, typed

Array: TypeAlias = NDArray[Any]


@dataclass
class Row:
    """One variable: what it is, and the array in which it lives.

    Attributes:
        variable: Its row of the plan.
        dtype: The dtype in which it is kept.
        array: A view of the state's block or, where it is bound, of the caller's array.
        groups: For a parameter's group index, the number of groups; else None.
    """

    variable: schema.Variable
    dtype: DType
    array: Array
    groups: int | None = None


class State:
    """Live variables, filled with their initial numbers.

    Args:
        document: The plan.
        precision: None, or "float64" to keep every floating variable in float64.

    Attributes:
        rows: Each variable, by name.
        loans: The callers' arrays, of the variables that are bound; few beside the rows.
    """

    def __init__(self, document: schema.Document, precision: str | None = None) -> None:
        kinds = [stored(dtypes.ALL[v.dtype], precision) for v in document.variables]
        places = [0]
        for variable, dtype in zip(document.variables, kinds, strict=True):
            places.append(places[-1] + round_up(_count(variable.shape) * dtype.itemsize))
        self.block = aligned(places[-1])
        self.block[:: mmap.PAGESIZE] = 0  # a page read before it is written is mapped twice, for all threads
        self.rows: dict[str, Row] = {}
        self.loans = Loans()
        for variable, dtype, place in zip(document.variables, kinds, places, strict=False):
            array: Array = np.ndarray(variable.shape, dtype, self.block, place)
            if not _is_zero(variable.initial):
                array[...] = number(variable.initial, dtype)
            self.rows[variable.name] = Row(variable, dtype, array)
        for optimizer in document.optimizers:
            for name in optimizer.members.values():
                self.rows[name].groups = len(optimizer.groups)

    def arrays(self) -> dict[str, Array]:
        """The array in which each variable lives."""
        return {name: row.array for name, row in self.rows.items()}

    def row(self, name: str) -> Row:
        """The row of a variable.

        Raises:
            StateError: if there is none of that name.
        """
        if name not in self.rows:
            raise StateError(message(f"no variable is named {name!r}", hint=closest(str(name), self.rows)))
        return self.rows[name]

    def overlaps(self, array: Array) -> bool:
        """Whether a caller's array may share memory with a variable.

        Only with one that is bound: of the others, callers have copies.
        """
        return self.loans.overlap(array)

    def bind(self, name: str, array: object) -> None:
        """Let a variable live in the caller's array, whose values it takes.

        Raises:
            StateError: if the array does not fit.
        """
        row = self.row(name)
        what = f"bind {name!r}"
        array = in_place(array, Wanted(what, row.dtype, len(row.variable.shape), StateError))
        if not array.flags.writeable:
            raise StateError(
                message(f"{what}: the array is read-only", expected="an array that runs can change")
            )
        others = (loan.array for other, loan in self.loans.items() if other != name)
        if any(np.may_share_memory(array, other) for other in others):
            raise StateError(message(f"{what}: the array overlaps one that another variable is bound to"))
        _check(row, array, what)
        self.loans.put(Loan(name, array))
        row.array = self.loans[name].array

    def copies(self) -> dict[str, Array]:
        """A fresh array per variable."""
        return {name: row.array.copy() for name, row in self.rows.items()}

    def load(self, values: Mapping[str, object], strict: bool) -> None:
        """Set variables, all or none.

        Args:
            values: An array, or for scalars a number, per name.
            strict: Whether the names must be those of all variables.

        Raises:
            StateError: listing what is missing, unexpected or does not fit, or of an array that is read-only;
                nothing is changed.
        """
        missing = [name for name in self.rows if name not in values]
        unexpected = [name for name in values if name not in self.rows]
        wrong: list[str] = []
        checked: list[tuple[Row, Array]] = []
        for name, row in self.rows.items():
            if name in values:
                try:
                    checked.append((row, fitting(row, values[name])))
                except StateError as error:
                    wrong.append(str(error))
        if wrong or (strict and (missing or unexpected)):
            raise StateError(_report(missing if strict else [], unexpected if strict else [], wrong))
        # an array may be the memory of another bound variable, which an earlier assignment changes
        self.write({r.variable.name: a.copy() if self.overlaps(a) else a for r, a in checked})

    def write(self, values: Mapping[str, Array | float]) -> None:
        """Assign what fits to variables, all or none.

        Raises:
            StateError: if one is bound to an array that has become read-only.
        """
        check_changeable(loan for name, loan in self.loans.items() if name in values)
        for name, value in values.items():
            self.rows[name].array[...] = value


def _is_zero(initial: schema.Number) -> bool:
    """Whether all bytes of a number are zero, as those of -0.0 are not."""
    return initial == 0 and str(initial) != "-0.0"


def _count(shape: tuple[int, ...]) -> int:
    return math.prod(shape)


def fitting(row: Row, value: object) -> Array:
    """The value as an array that can be assigned to the variable.

    Raises:
        StateError: if it cannot.
    """
    what = repr(row.variable.name)
    array = as_array(value, Wanted(what, row.dtype, len(row.variable.shape), StateError))
    _check(row, array, what)
    return array


def _check(row: Row, array: Array, what: str) -> None:
    if array.shape != row.variable.shape:
        expected = typed(row.dtype.name, row.variable.shape)
        raise StateError(message(f"{what}: the array has shape {show(array.shape)}", expected=expected))
    if row.groups is not None and not 0 <= int(array) < row.groups:
        raise StateError(f"{what}: group {int(array)} does not exist; the optimizer has {row.groups}")


def _report(missing: list[str], unexpected: list[str], wrong: list[str]) -> str:
    hint = closest(unexpected[0], missing) if unexpected and missing else None
    headline = "state does not fit the variables of the plan"
    details = message(
        headline,
        missing=listed(missing) if missing else None,
        extra=listed(unexpected) if unexpected else None,
        hint=f"{unexpected[0]!r}: {hint}" if hint else None,
    )
    mismatched = [line.replace("\n", "\n  ") for line in wrong[:8]]
    more = [f"and {len(wrong) - 8} more"] if len(wrong) > 8 else []
    return "\n  ".join([details, *mismatched, *more])
