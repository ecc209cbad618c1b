"""What a backend is: the protocol, and what all backends share."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lazyflow.runtime import schema
from lazyflow.runtime.errors import OutOfRangeError, message

Array: TypeAlias = NDArray[Any]

# a fresh array per fetch; the lines that were printed
Outcome: TypeAlias = tuple[dict[str, Array], list[str]]

ALIGNMENT = 64
HUGE_PAGE = 1 << 21
_LARGE = 2 * HUGE_PAGE


class Bound(dict[str, Array]):
    """Feeds that are the same arrays from run to run: a backend may remember where they are."""


class Steps(NamedTuple):
    """What several runs are fed.

    Attributes:
        runs: How many; at least one.
        sizes: The value of each dimension of the program, the same for all runs.
        fixed: The feeds that are the same array in all of them.
        moving: The other feeds: an array per run, in a list or along a further first axis.
    """

    runs: int
    sizes: Mapping[str, int]
    fixed: Mapping[str, Array]
    moving: Mapping[str, Array | list[Array]]

    def feeds(self, run: int) -> dict[str, Array]:
        """What one of the runs is fed."""
        moving = {n: a[run, ...] if isinstance(a, np.ndarray) else a[run] for n, a in self.moving.items()}
        return {**self.fixed, **moving}

    def after(self, done: int) -> Steps:
        """The runs that are left when some are done."""
        moving = {name: arrays[done:] for name, arrays in self.moving.items()}
        return self._replace(runs=self.runs - done, moving=moving)


class Ran(NamedTuple):
    """What several runs gave.

    Attributes:
        runs: How many there were.
        fetches: The fetches of each, or of the last only: arrays that share no memory with each other.
        lines: What they printed.
    """

    runs: int
    fetches: list[dict[str, Array]]
    lines: list[str]


class Backend(Protocol):
    """Executes the programs of one verified document on variables that live in given arrays.

    Attributes:
        name: What ``plan.session(backend=...)`` calls it.
        prepared: How many programs it has prepared; new sizes of dimensions prepare nothing.
        whole: Whether an interrupt cannot come between the effects of one run.
    """

    name: str
    prepared: int
    whole: bool

    def place(self, variables: Mapping[str, Array]) -> None:
        """Let the variables live in these C-contiguous arrays, which runs change in place."""

    def run(self, program: str, feeds: Mapping[str, Array], sizes: Mapping[str, int]) -> Outcome:
        """Run a program once.

        Args:
            program: The name of a program.
            feeds: A C-contiguous array per feed, of its dtype and of its shape at ``sizes``; only read.
            sizes: The value of each dimension of the program.

        Raises:
            OutOfRangeError: if an index lies outside of its axis; no variable is changed.
        """

    def run_steps(self, program: str, steps: Steps, every: bool) -> Ran:
        """Run a program several times, for as long as a caller may wait for an interrupt.

        Args:
            program: The name of a program.
            steps: What the runs are fed, each array as for ``run``.
            every: Whether to return the fetches of every run.

        Returns:
            What the first of the runs gave, at least of one.

        Raises:
            OutOfRangeError: as ``run``, if the first run fails; one that fails later is not counted.
        """


def aligned(nbytes: int) -> NDArray[np.uint8]:
    """A zeroed block of bytes that starts at a multiple of 64; a large one starts at a huge page."""
    if nbytes >= _LARGE and hasattr(mmap, "MADV_HUGEPAGE"):
        return _started(_mapped(nbytes + HUGE_PAGE), HUGE_PAGE, nbytes)
    return _started(np.zeros(nbytes + ALIGNMENT, np.uint8), ALIGNMENT, nbytes)


def _started(block: NDArray[np.uint8], step: int, nbytes: int) -> NDArray[np.uint8]:
    start = -block.ctypes.data % step
    return block[start : start + nbytes]


def _mapped(nbytes: int) -> NDArray[np.uint8]:
    """Memory of this process, for which the system is asked for huge pages: fewer addresses to look up."""
    try:
        memory = mmap.mmap(-1, nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    except OSError as error:
        raise MemoryError(f"no memory for {nbytes} bytes") from error
    with suppress(OSError):  # a kernel built without them
        memory.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(memory, np.uint8)


def address(array: NDArray[Any]) -> int:
    """Where an array's memory starts."""
    try:  # four times as fast as the array's own answer, which holds a description of all of it
        return ctypes.addressof(ctypes.c_char.from_buffer(array))  # type: ignore[arg-type]
    except (BufferError, TypeError, ValueError):  # read-only, empty, not contiguous, or of a dtype not of C
        found: int = array.__array_interface__["data"][0]
        return found


def round_up(nbytes: int) -> int:
    """The next multiple of 64."""
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


def check_index(index: Array, size: int, document: schema.Document, instruction: schema.Instruction) -> None:
    """Refuse indices outside of ``[0, size)``.

    Raises:
        OutOfRangeError: naming the first such index, and the user's line.
    """
    if int(index.min()) >= 0 and int(index.max()) < size:
        return
    outside = index[(index < 0) | (index >= size)]
    origin = document.origins[instruction.origin[0]] if instruction.origin else schema.Origin(name="index")
    raise OutOfRangeError(
        message(
            f"{origin.name}: index {int(outside[0])} is outside of its axis of {size} elements",
            expected=f"indices from 0 to {size - 1}; {outside.size} of {index.size} are not",
            made=f"at {origin.location}" if origin.location else None,
        )
    )


def formatted(text: str, value: Array) -> str:
    """The line that ``print`` writes: the value in the place of ``{}`` or ``{:FORMAT}``, else after the text.

    >>> formatted("rate", np.array(0.5)), formatted("rate is {:.2e}.", np.array(0.5))
    ('rate 0.5', 'rate is 5.00e-01.')
    """
    before, after, spec = split_text(text)
    shown = format(value.item(), spec) if spec else str(value.item() if value.ndim == 0 else value)
    return f"{before}{shown}{after}"


def split_text(text: str) -> tuple[str, str, str]:
    """What a print's text puts before and after the value, and the format of the value."""
    match = schema.PRINT_FIELD.search(text)
    if match is None:
        return (f"{text} " if text else ""), "", ""
    return text[: match.start()], text[match.end() :], match.group(1) or ""
