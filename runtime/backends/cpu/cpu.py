"""The cpu backend: each program is one native call, of code compiled for this host."""

from __future__ import annotations

import ctypes
import logging
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lazyflow.runtime import schema
from lazyflow.runtime.backends.backend import Array, Outcome, Ran, Steps, aligned, formatted, round_up
from lazyflow.runtime.backends.cpu.code.natives import product_text
from lazyflow.runtime.backends.cpu.code.tiling import PRODUCT
from lazyflow.runtime.backends.cpu.lowering.program import program_tasks
from lazyflow.runtime.backends.cpu.lowering.tasks import Module
from lazyflow.runtime.backends.cpu.running.binding import Binding, Memory, Natives
from lazyflow.runtime.backends.cpu.running.blas import NAMES, Blas
from lazyflow.runtime.backends.cpu.running.cache import Cache
from lazyflow.runtime.backends.cpu.running.driver import driver_text
from lazyflow.runtime.backends.cpu.running.guard import guarded_mode
from lazyflow.runtime.backends.cpu.running.jit import ATTRIBUTES, Engine, Machine, module_text
from lazyflow.runtime.backends.cpu.running.pool import Pool
from lazyflow.runtime.backends.cpu.running.table import Table
from lazyflow.runtime.dimensions import Size, evaluate, parse
from lazyflow.runtime.threads import get_num_threads

_KEPT_BINDINGS = 32
_SILENT_SECONDS = 1.0
_logger = logging.getLogger("lazyflow")
_NATIVE = ("lazyflow.flag", "lazyflow.check_groups")  # of the driver


class Host:
    """What all sessions of this process share: the compiler, the driver, BLAS, the worker threads."""

    def __init__(self) -> None:
        self.machine = Machine()
        self.cache = Cache(self.machine)
        self._blas: list[Blas] = []
        self._engines = [self.load("driver", lambda: driver_text() + ATTRIBUTES)]  # kept: they own the code
        names = (*_NATIVE, "lazyflow.work", "lazyflow.run")
        self._functions = {name: self._engines[0].get_function_address(name) for name in names}
        work = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(self._functions["lazyflow.work"])
        self.pool = Pool(work)
        self.run = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p)(self._functions["lazyflow.run"])

    def load(self, key: str, text: Callable[[], str]) -> Engine:
        """The code of a module, linked; compiled where the cache has none for the key."""
        return self.machine.load(self.cache.code(key, lambda: _compile(self.machine, text())))

    def function(self, name: str) -> int | None:
        """The address of a function that all programs share; None where there is none of that name."""
        if name not in self._functions and name.startswith(PRODUCT):
            engine = self.load(name, lambda: product_text(name, self.machine.bits) + ATTRIBUTES)
            self._engines.append(engine)
            self._functions[name] = engine.get_function_address(name)
        return self._functions.get(name)

    def natives(self, blas: bool) -> Natives:
        """What jobs use; BLAS is loaded with the first that calls it."""
        if not blas:
            return Natives(self.pool.words, 0, [0] * len(NAMES))
        if not self._blas:
            self._blas.append(Blas())
        return Natives(self.pool.words, self._blas[0].kept, self._blas[0].functions)


def _compile(machine: Machine, text: str) -> bytes:
    """Compile, and say so where it takes long."""
    functions = text.count("\ndefine i64 ")
    notice = f"compiling {functions} kernels for this host; the next process finds them in the cache"
    timer = threading.Timer(_SILENT_SECONDS, _logger.warning, (notice,))
    timer.daemon = True
    timer.start()
    try:
        return machine.compile(text)
    finally:
        timer.cancel()


_hosts: list[Host] = []  # one; where two threads made one at the same time, the first counts


class CpuBackend:
    """Runs a verified document as machine code.

    Args:
        document: The plan.
        constants: The array of each of its constants.
    """

    name = "cpu"

    def __init__(self, document: schema.Document, constants: Mapping[str, Array]) -> None:
        get_num_threads()  # a wrong setting is told here: programs with little work never ask
        self.document = document
        self.constants = {c.name: np.ascontiguousarray(constants[c.name]) for c in document.constants}
        self.variables: dict[str, Array] = {}
        self.arena = aligned(0)
        self.prepared = 0
        if not _hosts:
            _hosts.append(Host())
        self.host = _hosts[0]
        self._programs = {program.name: program for program in document.programs}
        self._tables = self._prepare()
        self._bindings: dict[object, Binding] = {}
        self._guarded = guarded_mode()
        self.whole = not self._guarded  # there the effects of a run are copied, by Python
        self._printed: dict[tuple[str, int], bytes] = {}

    def _prepare(self) -> dict[str, Table]:
        module = Module(self.host.machine.bits)
        tasks = {program.name: program_tasks(program, module) for program in self.document.programs}
        self._engine = self.host.load(repr(module.keys), lambda: module_text(module.written()))
        functions: dict[str, int] = {}
        for name in {task.function for each in tasks.values() for task in each.tasks}:
            functions[name] = self.host.function(name) or self._engine.get_function_address(name)
        self.prepared += len(tasks)
        tables = {name: Table(each, functions) for name, each in tasks.items()}
        self._natives = self.host.natives(any(table.calls_blas for table in tables.values()))
        return tables

    def place(self, variables: Mapping[str, Array]) -> None:
        """Let the variables live in these arrays."""
        self.variables = dict(variables)
        self._bindings.clear()

    def run(self, program: str, feeds: Mapping[str, Array], sizes: Mapping[str, int]) -> Outcome:
        """Run a program once."""
        binding = self._bind(program, sizes)
        if binding.shared:
            self.host.pool.use(get_num_threads())
        if self._guarded:
            feeds = binding.copy_in(feeds)
        binding.feed(feeds)
        if binding.prints:
            binding.flags[:] = 0  # of a run that failed
        status = self.host.run(binding.job)
        if status:
            binding.explain(self.document, status - 1, feeds)
        if self._guarded:
            binding.copy_out()
        return binding.fetch(feeds), self._lines(binding) if binding.prints else []

    def run_steps(self, program: str, steps: Steps, every: bool) -> Ran:
        """Run a program several times, until some 40 ms have gone by."""
        if self._guarded:
            fetches, lines = self.run(program, steps.feeds(0), steps.sizes)
            return Ran(1, [fetches], lines)
        binding = self._bind(program, steps.sizes)
        if binding.shared:
            self.host.pool.use(get_num_threads())
        rows = binding.feed_steps(steps, every)
        binding.flags[:] = 0
        status = self.host.run(binding.many)
        done = binding.done
        if status and not done:
            binding.explain(self.document, status - 1, steps.feeds(0))
        lines = self._lines(binding) if binding.prints else []
        return Ran(done, binding.fetch_steps(steps, done, rows), lines)

    def _lines(self, binding: Binding) -> list[str]:
        lines = []
        for flag, (number, value) in zip(binding.flags, binding.prints.items(), strict=True):
            instruction: Any = binding.program.instructions[number]
            if not flag:
                continue
            key = (binding.program.name, number)
            seen, self._printed[key] = self._printed.get(key), value.tobytes()
            if not instruction.on_change or seen != self._printed[key]:
                lines.append(formatted(instruction.text, value))
        return lines

    def _bind(self, name: str, sizes: Mapping[str, int]) -> Binding:
        key = (name, *sizes.items())
        binding = self._bindings.get(key)
        if binding is not None:
            return binding
        program = self._programs[name]
        table = self._tables[name]
        slots = [round_up(_value(slot, sizes)) for slot in (*program.slots, *table.scratch)]
        if sum(slots) > self.arena.size:
            self._bindings.clear()  # their addresses are those of the old arena
            self.arena = aligned(0)  # before there is a new one
            self.arena = aligned(sum(slots))
        if len(self._bindings) >= _KEPT_BINDINGS:
            del self._bindings[next(iter(self._bindings))]
        starts = np.cumsum([0, *slots]).tolist()
        memory = Memory(self.arena, starts, self.variables, self.constants, self._guarded)
        binding = Binding(program, sizes, table.fill(sizes), memory, self._natives)
        self._bindings[key] = binding
        return binding


def _value(extent: schema.Extent | Size, sizes: Mapping[str, int]) -> int:
    return evaluate(parse(extent) if isinstance(extent, str) else extent, sizes)
