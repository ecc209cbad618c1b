"""The proof that a document is well formed, made before anything is prepared: plans are untrusted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from numpy.typing import NDArray

from lazyflow.runtime import dtypes, schema
from lazyflow.runtime.dimensions import at_least, named
from lazyflow.runtime.errors import PlanError, ShapeError
from lazyflow.runtime.proofs import MAX_NUMBER, MAX_RANK, Accesses, elements_of
from lazyflow.runtime.scalars import fits_number
from lazyflow.runtime.steps import verify_steps

Array: TypeAlias = NDArray[Any]

_MAX_NAME = 1024


def verify(document: schema.Document) -> None:
    """Prove that a document is well formed.

    Names are unique and printable; dtypes and dimensions agree; for all legal values of the dimensions every
    access stays inside of its buffer, and every buffer inside of its memory; nothing is read before it is
    written; only variables and the arena are written; what can fail stands before the first change of a
    variable. What cannot be proven is refused.

    Raises:
        PlanError: with the place and the reason.
    """
    if document.version[0] != schema.VERSION[0]:
        raise PlanError(f"plan of version {_dotted(document.version)}; this is {_dotted(schema.VERSION)}")
    _verify_names("variable", [variable.name for variable in document.variables])
    _verify_names("constant", [constant.name for constant in document.constants])
    _verify_names("program", [program.name for program in document.programs])
    _verify_names("optimizer", [optimizer.name for optimizer in document.optimizers])
    _verify_text("plan", (document.name,))
    _verify_text("origin", (text for row in document.origins for text in (row.name, row.location)))
    for variable in document.variables:
        _verify_array(variable)
    for constant in document.constants:
        _verify_array(constant)
    variables = {row.name: row for row in document.variables}
    for optimizer in document.optimizers:
        _verify_optimizer(optimizer, variables)
    stored = {
        "variable": {v.name: _kind(v) for v in document.variables},
        "constant": {c.name: _kind(c) for c in document.constants},
    }
    for program in document.programs:
        _verify_program(program, stored, len(document.origins))


def verify_arrays(
    rows: Iterable[schema.Variable | schema.Constant], arrays: Mapping[str, Array], what: str
) -> None:
    """Check that there is one array per row, of its dtype and shape.

    Raises:
        PlanError: naming the first that is missing, is not declared or does not fit.
    """
    known = {row.name: row for row in rows}
    for name in (*known, *arrays):
        if name not in arrays:
            raise PlanError(f"{what} {name!r} is missing")
        if name not in known:
            raise PlanError(f"{what} {name!r} is not declared by the plan")
        row, array = known[name], arrays[name]
        if array.shape != row.shape or array.dtype.name != row.dtype:
            found = f"{array.dtype.name}{list(array.shape)}"
            raise PlanError(f"{what} {name!r} is {found}, declared {row.dtype}{list(row.shape)}")


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def _kind(row: schema.Variable | schema.Constant) -> tuple[str, int]:
    return row.dtype, math.prod(row.shape)


def _verify_names(what: str, names: list[str]) -> None:
    _verify_text(what, names)
    seen: set[str] = set()
    for name in names:
        if not name:
            raise PlanError(f"{what} without a name")
        if name in seen:
            raise PlanError(f"two {what}s are named {name!r}")
        seen.add(name)


def _verify_text(what: str, texts: Iterable[str]) -> None:
    """Names end up in messages and on terminals: control characters have no place in them."""
    for text in texts:
        if len(text) > _MAX_NAME:
            raise PlanError(f"{what}: a name of {len(text)} characters; the limit is {_MAX_NAME}")
        if not text.isprintable():
            raise PlanError(f"{what}: {text!r} holds characters that cannot be printed")


def _verify_array(row: schema.Variable | schema.Constant) -> None:
    if row.dtype not in dtypes.ALL:
        raise PlanError(f"{row.name!r}: {row.dtype!r} is no dtype")
    size = math.prod(row.shape)
    if len(row.shape) > MAX_RANK or any(extent < 1 for extent in row.shape) or size > MAX_NUMBER:
        raise PlanError(f"{row.name!r}: shape {row.shape} is beyond the limits")
    if isinstance(row, schema.Variable) and not fits_number(row.initial, dtypes.ALL[row.dtype]):
        raise PlanError(f"{row.name!r}: the initial value {row.initial!r} is no {row.dtype}")


# --- optimizers ---------------------------------------------------------------------------------------------


def _verify_optimizer(optimizer: schema.Optimizer, variables: Mapping[str, schema.Variable]) -> None:
    what = f"optimizer {optimizer.name!r}"
    _verify_text(what, (optimizer.kind,))
    if not optimizer.groups:
        raise PlanError(f"{what} has no groups")
    for group in optimizer.groups:
        _verify_text(what, (*group.scalars, *group.options, *group.ranges))
        for name in (name for names in group.scalars.values() for name in names):
            _require_scalar(what, name, ("float64", "bool"), variables)
        for option, bounds in group.ranges.items():
            if not all(fits_number(bound, dtypes.float64) for bound in bounds[:2]):
                raise PlanError(f"{what}: the range of {option!r} is {bounds}")
    for parameter, name in optimizer.members.items():
        _require_scalar(what, name, ("int32",), variables)
        if parameter not in variables:
            raise PlanError(f"{what}: {parameter!r} is no variable")
    for parameter, names in optimizer.state.items():
        missing = [name for name in (parameter, *names) if name not in variables]
        if missing:
            raise PlanError(f"{what}: {missing[0]!r} is no variable")


def _require_scalar(
    what: str, name: str, dtypes_of: tuple[str, ...], variables: Mapping[str, schema.Variable]
) -> None:
    row = variables.get(name)
    if row is None or row.shape != () or row.dtype not in dtypes_of:
        raise PlanError(f"{what}: {name!r} is no variable that holds one {' or '.join(dtypes_of)}")


# --- programs -----------------------------------------------------------------------------------------------


def _verify_program(
    program: schema.Program, stored: Mapping[str, Mapping[str, tuple[str, int]]], origins: int
) -> None:
    what = f"program {program.name!r}"
    _verify_names(f"{what}: feed", [feed.name for feed in program.feeds])
    _verify_names(f"{what}: fetch", [fetch.name for fetch in program.fetches])
    _verify_names(f"{what}: dimension", list(program.dimensions))
    _verify_text(what, (feed.location for feed in program.feeds))
    _verify_text(what, (getattr(step, "text", "") for step in program.instructions))
    for name in program.dimensions:
        _verify_dimension(what, name, program)
    for number, buffer in enumerate(program.buffers):
        if buffer.dtype not in dtypes.ALL:
            raise PlanError(f"{what}, buffer {number}: {buffer.dtype!r} is no dtype")
    accesses = Accesses(program)
    feeds = {feed.buffer: feed for feed in program.feeds}
    if len(feeds) != len(program.feeds):
        raise PlanError(f"{what}: two feeds share a buffer")
    for number, buffer in enumerate(program.buffers):
        try:
            _verify_buffer(accesses, number, buffer, program.slots, stored, feeds)
        except PlanError as reason:
            raise PlanError(f"{what}, buffer {number}: {reason}") from None
    _verify_ends(what, program, accesses)
    verify_steps(program, accesses, origins)


def _verify_dimension(what: str, name: str, program: schema.Program) -> None:
    try:
        named(name)
    except ShapeError as error:
        raise PlanError(f"{what}: {error}") from None
    if not any(name in feed.shape for feed in program.feeds):
        raise PlanError(f"{what}: dimension {name!r} is an axis of no feed")


def _verify_buffer(
    accesses: Accesses,
    number: int,
    buffer: schema.Buffer,
    slots: schema.Extents,
    stored: Mapping[str, Mapping[str, tuple[str, int]]],
    feeds: Mapping[int, schema.Feed],
) -> None:
    accesses.shape((buffer.size,))
    if buffer.place == "arena":
        _verify_arena(accesses, number, buffer, slots)
    elif buffer.place == "feed":
        feed = feeds.get(number)
        size = elements_of(accesses.shape(feed.shape)) if feed is not None else None
        if feed is None or (feed.name, feed.dtype, size) != (
            buffer.name,
            buffer.dtype,
            accesses.size(buffer.size),
        ):
            raise PlanError(f"it is not the memory of a feed {buffer.name!r}")
    elif buffer.place not in stored:
        raise PlanError(f"{buffer.place!r} is no place")
    elif stored[buffer.place].get(buffer.name) != (buffer.dtype, buffer.size):
        raise PlanError(f"it is not the memory of a {buffer.place} {buffer.name!r}")


def _verify_arena(accesses: Accesses, number: int, buffer: schema.Buffer, slots: schema.Extents) -> None:
    if not 0 <= buffer.slot < len(slots):
        raise PlanError(f"slot {buffer.slot} does not exist")
    itemsize = accesses.dtypes[number].itemsize
    if buffer.offset < 0 or buffer.offset % itemsize:
        raise PlanError(f"offset {buffer.offset} is no multiple of its elements' {itemsize} bytes")
    end = accesses.end(buffer, itemsize)
    if not accesses.fits(end, slots[buffer.slot]):
        raise PlanError(f"it ends at byte {end} of slot {buffer.slot}, which has {slots[buffer.slot]}")


def _verify_ends(what: str, program: schema.Program, accesses: Accesses) -> None:
    """Feeds, fetches, and the sizes of the arena."""
    try:
        for extent in (*program.slots, *program.lower_bound):
            if not at_least(accesses.size(extent), 0):
                raise PlanError(f"{extent} bytes are not certainly 0 or more")
        for feed in program.feeds:
            accesses.dtype(feed.buffer)
            if program.buffers[feed.buffer].place != "feed":
                raise PlanError(f"feed {feed.name!r} is no feed's buffer")
        for fetch in program.fetches:
            dtype = accesses.check(fetch.source, fetch.shape)
            if dtype.name != fetch.dtype:
                raise PlanError(f"fetch {fetch.name!r} is {fetch.dtype}, its buffer {dtype.name}")
    except PlanError as reason:
        raise PlanError(f"{what}: {reason}") from None
