"""A plan on a backend, with live variables."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any, Literal, NoReturn, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lazyflow.runtime import schema
from lazyflow.runtime.backends.backend import Backend, Bound, Ran, Steps
from lazyflow.runtime.batches import (
    Batches,
    Part,
    Results,
    count_runs,
    grouped,
    in_blocks,
    parted,
    unstacked,
)
from lazyflow.runtime.checkpoint import read_checkpoint, write_checkpoint
from lazyflow.runtime.errors import (
    ArgumentError,
    ArgumentTypeError,
    FeedError,
    LazyflowError,
    SessionBusyError,
    StateError,
    message,
)
from lazyflow.runtime.feeds import Feeds
from lazyflow.runtime.groups import Groups, Optimizers
from lazyflow.runtime.loans import Loan, check_changeable
from lazyflow.runtime.state import State
from lazyflow.runtime.values import closest, listed

Array: TypeAlias = NDArray[Any]
Ready: TypeAlias = tuple[Mapping[str, Array], dict[str, int]]  # feeds, and the value of each dimension

_NOTE = "in run {} (from 0) of run_many; the runs before it have happened"
_OTHER_NOTE = "in run_many; at least {} runs have happened"
_WHOLE = nullcontext()

_HINTS = {
    "run": "session.run(program, x=array) or session.run(program, {'x': array})",
    "run_many": "session.run_many(program, [{'x': array}, ...]), or {'x': an array per run, stacked}",
}


class Session:
    """Runs the programs of a plan on variables that stay between runs. Made by ``plan.session()``.

    Args:
        document: The plan.
        backend: What executes it.
        precision: None, or "float64" where floating values are kept in float64.

    Attributes:
        backend: The backend; ``backend.prepared`` counts the programs that it has prepared.
        groups: Per optimizer, its parameter groups: ``session.groups["adamw"][0]["lr"] = 1e-4``.
    """

    def __init__(self, document: schema.Document, backend: Backend, precision: str | None = None) -> None:
        self.backend = backend
        self._state = State(document, precision)
        self._programs = {program.name: Feeds(program, precision) for program in document.programs}
        self._loans: dict[str, Loan] = {}  # of placeholders
        self._bound: dict[str, Array] = {}  # the arrays of these
        self._changing: dict[str, list[Loan]] = {}  # of bound variables, for programs that were asked
        self._ready: dict[str, Ready] = {}  # for programs whose placeholders are all bound
        self._feeding: dict[str, bool] = {}  # for programs that were asked, see _feeds_itself
        self._lock = threading.Lock()
        self.groups: Mapping[str, Groups] = Optimizers(
            (optimizer.name, Groups(optimizer, self._state, self._use)) for optimizer in document.optimizers
        )
        backend.place(self._state.arrays())

    def run(
        self, program: str, /, feeds: Mapping[str, object] | None = None, *more: object, **named: object
    ) -> dict[str, Array]:
        """Run a program once: all its effects together, or none where it fails.

        Args:
            program: The program's name.
            feeds: An array per placeholder, of its dtype or of one that casts safely to it; for rank 0 also a
                number. Placeholders that arrays are bound to need none.
            *more: Nothing: feeds have names.
            **named: The same, as keywords.

        Returns:
            A fresh array per fetch, rank 0 included.

        Raises:
            ArgumentError: if there is no such program.
            FeedError: if a feed is missing, unknown, or does not fit, or is given without a name.
            StateError: if it changes a variable whose bound array has become read-only.
            OutOfRangeError: if an index lies outside of its axis.
            SessionBusyError: if the session is running, in this thread or another.
        """
        placeholders = (isinstance(program, str) and self._programs.get(program)) or self._program(program)
        backend = self.backend
        if more:
            headline = f"run: {1 + len(more)} feeds without names"
            raise FeedError(message(headline, expected=listed(placeholders.rows), hint=_HINTS["run"]))
        if not self._lock.acquire(False):
            raise _busy()
        try:
            if self._state.loans:
                self._check_loans(program, placeholders)
            ready = self._ready.get(program) if feeds is None and not named else None
            arrays, sizes = ready or self._read(program, placeholders, feeds, named)
            if backend.whole:
                fetches, lines = backend.run(program, arrays, sizes)
            else:
                with _uninterrupted():
                    fetches, lines = backend.run(program, arrays, sizes)
        finally:
            self._lock.release()
        if lines:
            _say(lines)
        return fetches

    def _check_loans(self, program: str, placeholders: Feeds) -> None:
        loans = self._changing.get(program)
        if loans is None:
            changed = placeholders.changed
            loans = [loan for name, loan in self._state.loans.items() if name in changed]
            self._changing[program] = loans
        check_changeable(loans)

    def _read(
        self,
        program: str,
        placeholders: Feeds,
        feeds: Mapping[str, object] | None,
        named: Mapping[str, object],
    ) -> Ready:
        if feeds is None and not self._bound:
            return placeholders.read(named, self._state)
        given = self._given(placeholders, feeds, named)
        arrays, sizes = placeholders.read(given, self._state)
        if feeds or named or any(arrays[name] is not self._bound[name] for name in arrays):
            return arrays, sizes
        ready = self._ready[program] = Bound(arrays), sizes
        return ready

    def run_many(
        self, program: str, batches: Batches, fetch: Literal["last", "all"] = "last", ahead: int = 1
    ) -> dict[str, Array] | list[dict[str, Array]]:
        """Run a program once per batch.

        The runs of stacked arrays, of a list and of a tuple happen many at a time, without Python between
        them, on backends that can. Another iterable, such as a generator, is asked for a batch when the runs
        before it have happened: it may look at the session, set its learning rates, and fill the same arrays
        anew. Where it does none of that, ``ahead`` batches of it can run together too.

        Args:
            program: The program's name.
            batches: The feeds of each run, or an array per placeholder, whose first axis is the run.
            fetch: Which runs' fetches to return.
            ahead: How many batches to take of an iterable before they run. An error of its own comes after
                the runs of those that it gave.

        Returns:
            The fetches of the last run, or a list of those of all runs.

        Raises:
            ArgumentError: if there is no batch to fetch from, ``fetch`` is neither, or ``ahead`` is not
                positive.
            FeedError: as in ``run``; the runs before the failing one have happened.
        """
        placeholders = self._program(program, "run_many")
        if isinstance(batches, str | bytes | np.ndarray) or not isinstance(batches, Iterable):
            headline = f"run_many: {type(batches).__name__} holds no batches"
            raise FeedError(message(headline, hint=_HINTS["run_many"]))
        if not isinstance(fetch, str) or fetch not in ("last", "all"):
            raise ArgumentError(f"run_many: fetch={fetch!r}; expected 'last' or 'all'")
        if isinstance(ahead, bool) or not isinstance(ahead, int) or ahead < 1:
            raise ArgumentError(f"run_many: ahead={ahead!r}; expected a number of batches, at least 1")
        results = Results(every=fetch == "all")
        for part in self._parts(placeholders, batches, ahead):
            try:
                self._run_part(program, placeholders, part, results)
            except Exception as error:
                # one that a handler of a signal raises may come before the last runs are counted
                note = _NOTE if isinstance(error, LazyflowError) else _OTHER_NOTE
                error.add_note(note.format(results.runs))
                raise
        if fetch == "all":
            return results.fetches
        if not results.runs:
            headline = "run_many: there are no batches, so there is no last run"
            hint = "[{}] * n runs n times on what is bound" if self._bound else None
            raise ArgumentError(message(headline, hint=hint))
        return results.fetches[-1]

    def _feeds_itself(self, program: str, placeholders: Feeds) -> bool:
        """Whether a run changes what the next one reads: a bound feed lies in the memory of a variable."""
        if program not in self._feeding:
            bound = (array for name, array in self._bound.items() if name in placeholders.rows)
            self._feeding[program] = any(self._state.overlaps(array) for array in bound)
        return self._feeding[program]

    def _parts(self, placeholders: Feeds, batches: Batches, ahead: int) -> Iterable[Part]:
        """The batches in parts: nothing is read of one before the runs of those before it have happened."""
        if isinstance(batches, Mapping):
            return [batches] if count_runs(batches, placeholders) else []
        return parted(batches, max(1, len(batches)) if isinstance(batches, list | tuple) else ahead)

    def _run_part(self, program: str, placeholders: Feeds, part: Part, results: Results) -> None:
        if isinstance(part, list) and len(part) == 1:
            _check_batch(part[0])
            feeds = part[0] or None  # no feeds: what is bound is known
            results.add(Ran(1, [self.run(program, feeds)], []))
            return
        with self._use():
            for steps in self._steps(program, placeholders, part):
                self._run_steps(program, steps, results)

    def _run_steps(self, program: str, steps: Steps, results: Results) -> None:
        while steps.runs:
            self._check_loans(program, self._programs[program])
            with _WHOLE if self.backend.whole else _uninterrupted():
                ran = self.backend.run_steps(program, steps, results.every)
            results.add(ran)
            _say(ran.lines)
            steps = steps.after(ran.runs)

    def _steps(self, program: str, placeholders: Feeds, part: Part) -> Iterable[Steps]:
        """What the runs of a part are fed, those of equal sizes together."""
        own = self._feeds_itself(program, placeholders)
        read = partial(self._read_batch, placeholders)
        if isinstance(part, Mapping):
            runs = count_runs(part, placeholders)
            if not own and not any(map(self._state.overlaps, part.values())):
                return self._stacked_steps(placeholders, part, runs)
            return grouped(unstacked(part, runs), read)
        if not own and all(map(_is_empty, part)):
            arrays, sizes = self._ready.get(program) or self._read(program, placeholders, None, {})
            return [Steps(len(part), sizes, arrays, {})]
        return grouped(part, read)

    def _stacked_steps(self, placeholders: Feeds, stacked: Mapping[str, Array], runs: int) -> Iterator[Steps]:
        given = self._given(placeholders, stacked, {})
        placeholders.check_names(given)
        for block in in_blocks(stacked, runs, placeholders.held(stacked)):
            yield placeholders.read_stacked({**given, **block}, block, self._state)

    def _read_batch(
        self, placeholders: Feeds, batch: Mapping[str, object]
    ) -> tuple[Mapping[str, Array], Mapping[str, int], bool]:
        if type(batch) is not dict:  # which most are, and to ask for a mapping takes a tenth of a run
            _check_batch(batch)
        given = self._given(placeholders, batch, {})
        arrays, sizes = placeholders.read(given, self._state)
        # read in place, none lies in the memory of a variable
        changing = arrays is not given and any(
            isinstance(value, np.ndarray) and self._state.overlaps(value) for value in given.values()
        )
        return arrays, sizes, changing

    def __reduce__(self) -> NoReturn:
        """A session cannot be pickled or copied.

        Raises:
            ArgumentTypeError: with what can.
        """
        hint = "plan.session() and load_state_dict(session.state_dict()), or plan.save(path, session)"
        raise ArgumentTypeError(message("session: it cannot be pickled or copied", hint=hint))

    def state_dict(self) -> dict[str, Array]:
        """A copy of every variable, by name."""
        with self._use():
            return self._state.copies()

    def load_state_dict(self, values: Mapping[str, object], strict: bool = True) -> None:
        """Set variables by name, all or none.

        Args:
            values: An array per variable, of its shape, and of a dtype that casts safely to its own.
            strict: Whether every variable must be given and nothing else.

        Raises:
            StateError: listing what is missing, unexpected or does not fit; nothing is changed.
        """
        if not isinstance(values, Mapping):
            raise ArgumentTypeError(
                f"load_state_dict: {type(values).__name__} is not a mapping of names to arrays"
            )
        with self._use():
            self._state.load(values, strict)

    def get(self, name: str) -> Array:
        """A copy of one variable.

        Raises:
            StateError: if there is none of that name.
        """
        with self._use():
            return self._state.row(name).array.copy()

    def set(self, name: str, value: object) -> None:
        """Set one variable, to an array whose dtype casts safely to its own, or for rank 0 to a number.

        Raises:
            StateError: if there is no such variable, or the value does not fit it.
        """
        with self._use():
            self._state.row(name)
            self._state.load({name: value}, strict=False)

    def bind(self, name: str, array: Array) -> None:
        """Let a variable or a placeholder live in the caller's array, without a copy.

        A variable takes the array's values, and runs change the array in place. A placeholder reads the array
        at every run, and need not be fed. While it is bound, the array cannot be resized.

        Args:
            name: A variable, or a placeholder of any program.
            array: C-contiguous and exactly of its dtype and shape; for a variable, writeable.

        Raises:
            StateError: if there is no such name, or the array does not fit the variable.
            FeedError: if the array does not fit the placeholder.
        """
        with self._use():
            self._ready.clear()
            self._feeding.clear()
            self._changing.clear()
            if name in self._state.rows:
                self._state.bind(name, array)
                self.backend.place(self._state.arrays())
            else:
                self._bind_placeholder(name, array)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all variables to a safetensors file; the path holds the old file or the new, never a part.

        Raises:
            OSError: if the file cannot be written.
        """
        write_checkpoint(path, self.state_dict())

    def restore(self, path: str | os.PathLike[str], strict: bool = True) -> None:
        """Set the variables from a file that ``save`` wrote, all or none.

        Raises:
            OSError: if the file cannot be read.
            StateError: listing what is missing, unexpected or does not fit; nothing is changed.
        """
        self.load_state_dict(read_checkpoint(path), strict)

    @contextmanager
    def _use(self) -> Iterator[None]:
        if not self._lock.acquire(False):
            raise _busy()
        try:
            yield
        finally:
            self._lock.release()

    def _program(self, name: str, verb: Literal["run", "run_many"] = "run") -> Feeds:
        if not isinstance(name, str):
            headline = f"{verb}: {type(name).__name__} is no name of a program"
            expected = listed(self._programs)
            raise ArgumentTypeError(message(headline, expected=expected, hint=_HINTS[verb]))
        if name not in self._programs:
            expected = listed(self._programs)
            hint = closest(str(name), self._programs)
            raise ArgumentError(message(f"no program is named {name!r}", expected=expected, hint=hint))
        return self._programs[name]

    def _given(
        self, placeholders: Feeds, feeds: Mapping[str, object] | None, named: Mapping[str, object]
    ) -> Mapping[str, object]:
        if not (named or self._bound) and isinstance(feeds, dict):
            return feeds
        if feeds is not None and not isinstance(feeds, Mapping):
            raise FeedError(message(f"feeds: {type(feeds).__name__} is not a mapping", hint=_HINTS["run"]))
        given = dict(feeds or {})
        twice = given.keys() & named.keys()
        if twice:
            raise FeedError(f"feed given twice, in the mapping and by keyword: {listed(sorted(twice))}")
        bound = {name: array for name, array in self._bound.items() if name in placeholders.rows}
        return {**bound, **given, **named}

    def _bind_placeholder(self, name: str, array: Array) -> None:
        found = [feeds for feeds in self._programs.values() if name in feeds.rows]
        if not found:
            known = {*self._state.rows, *(n for feeds in self._programs.values() for n in feeds.rows)}
            headline = f"bind: no variable and no placeholder is named {name!r}"
            raise StateError(message(headline, hint=closest(str(name), sorted(known))))
        for feeds in found:
            feeds.check_bound(name, array)
        self._loans[name] = Loan(name, array)
        self._bound[name] = self._loans[name].array


def _busy() -> SessionBusyError:
    headline = "session: it is running, and cannot be used until that run has ended"
    return SessionBusyError(
        message(headline, hint="use one session per thread: plan.session() as often as needed")
    )


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let Ctrl-C wait until a run has ended: half of its effects are neither the old state nor the new."""
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    pressed: list[int] = []
    signal.signal(signal.SIGINT, lambda number, frame: pressed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if pressed:
            raise KeyboardInterrupt


def _check_batch(batch: object) -> None:
    if not isinstance(batch, Mapping):
        headline = f"run_many: a batch is {type(batch).__name__}, no mapping of names to arrays"
        raise FeedError(message(headline, hint=_HINTS["run_many"]))


def _is_empty(batch: object) -> bool:
    return isinstance(batch, Mapping) and not batch


def _say(lines: list[str]) -> None:
    if lines:
        sys.stdout.write("\n".join([*lines, ""]))
