"""The cpu backend: each program is one native function, compiled for this host."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lazyflow.runtime import dtypes, schema
from lazyflow.runtime.backends.backend import Array, Outcome, aligned, check_index, formatted, round_up
from lazyflow.runtime.backends.cpu import blas
from lazyflow.runtime.backends.cpu.calls import Module
from lazyflow.runtime.backends.cpu.jit import Machine, module_text
from lazyflow.runtime.backends.cpu.program import ProgramFunction
from lazyflow.runtime.dimensions import Size, evaluate, parse
from lazyflow.runtime.errors import LazyflowError, OutOfRangeError

_KEPT_BINDINGS = 32
_machine: list[Machine] = []

Native = Callable[[Any, Any, Any], int]


class CpuBackend:
    """Runs a verified document as machine code.

    Args:
        document: The plan.
        constants: The array of each of its constants.
    """

    name = "cpu"

    def __init__(self, document: schema.Document, constants: Mapping[str, Array]) -> None:
        self.document = document
        self.constants = {c.name: np.ascontiguousarray(constants[c.name]) for c in document.constants}
        self.variables: dict[str, Array] = {}
        self.arena = aligned(0)
        self.prepared = 0
        self._programs = {program.name: program for program in document.programs}
        self._native = self._compile()
        self._bindings: dict[object, _Binding] = {}
        self._printed: dict[tuple[str, int], bytes] = {}

    def _compile(self) -> dict[str, Native]:
        if not _machine:
            _machine.append(Machine())
            blas.load()
        module = Module()
        for number, program in enumerate(self.document.programs):
            ProgramFunction(program, module).write(f"program.{number}")
            self.prepared += 1
        self._engine = _machine[0].compile(module_text(module.functions, module.writers))
        signature = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
        return {
            program.name: signature(self._engine.get_function_address(f"program.{number}"))
            for number, program in enumerate(self.document.programs)
        }

    def place(self, variables: Mapping[str, Array]) -> None:
        """Let the variables live in these arrays."""
        self.variables = dict(variables)
        self._bindings.clear()

    def run(self, program: str, feeds: Mapping[str, Array], sizes: Mapping[str, int]) -> Outcome:
        """Run a program once."""
        binding = self._bind(program, sizes)
        for position, name in binding.fed:
            binding.addresses[position] = feeds[name].__array_interface__["data"][0]
        status = self._native[program](binding.buffers, binding.sizes, binding.fault)
        if status:
            binding.explain(self.document, int(status) - 1, feeds)
        fetches = {name: np.array(view, order="C") for name, view in binding.fetches}
        for fetch in binding.fetched_feeds:
            fetches[fetch.name] = np.array(binding.view(fetch.source, fetch.shape, feeds), order="C")
        return Outcome(fetches, self._lines(binding) if binding.prints else [])

    def _lines(self, binding: _Binding) -> list[str]:
        lines = []
        for number, (flag, value) in binding.prints.items():
            instruction = binding.program.instructions[number]
            if not flag[0] or not isinstance(instruction, schema.Print):
                continue
            flag[0] = 0
            key = (binding.program.name, number)
            seen, self._printed[key] = self._printed.get(key), value.tobytes()
            if not instruction.on_change or seen != self._printed[key]:
                lines.append(formatted(instruction.text, value))
        return lines

    def _bind(self, name: str, sizes: Mapping[str, int]) -> _Binding:
        key = (name, tuple(sorted(sizes.items())))
        binding = self._bindings.get(key)
        if binding is not None:
            return binding
        program = self._programs[name]
        slots = [round_up(_value(slot, sizes)) for slot in program.slots]
        if sum(slots) > self.arena.size:
            self._bindings.clear()  # their addresses are those of the old arena
            self.arena = aligned(sum(slots))
        if len(self._bindings) >= _KEPT_BINDINGS:
            del self._bindings[next(iter(self._bindings))]
        binding = self._bindings[key] = _Binding(self, program, sizes, slots)
        return binding


def _value(extent: schema.Extent | Size, sizes: Mapping[str, int]) -> int:
    return evaluate(parse(extent) if isinstance(extent, str) else extent, sizes)


class _Binding:
    """The addresses of a program's buffers for given sizes."""

    def __init__(
        self, backend: CpuBackend, program: schema.Program, sizes: Mapping[str, int], slots: list[int]
    ) -> None:
        self.backend, self.program, self.values = backend, program, dict(sizes)
        starts = np.cumsum([0, *slots]).tolist()
        prints = [i for i, item in enumerate(program.instructions) if isinstance(item, schema.Print)]
        self.addresses = np.zeros(len(program.buffers) + 2 * len(prints), np.uintp)
        self.fed: list[tuple[int, str]] = []
        self.memory: list[Array | None] = []
        for position, buffer in enumerate(program.buffers):
            self.memory.append(self._memory(buffer, starts))
            if buffer.place == "feed":
                self.fed.append((position, buffer.name))
            else:
                self.addresses[position] = self._address(position)
        self.prints = {number: self._print(j, number) for j, number in enumerate(prints)}
        self._sizes = np.array([sizes[name] for name in program.dimensions] or [0], np.int64)
        self._fault = np.zeros(1, np.int64)
        self.buffers, self.sizes, self.fault = (
            self.addresses.ctypes.data,
            self._sizes.ctypes.data,
            self._fault.ctypes.data,
        )
        fetches = program.fetches
        self.fetched_feeds = [f for f in fetches if program.buffers[f.source.buffer].place == "feed"]
        self.fetches = [
            (f.name, self.view(f.source, f.shape, {})) for f in fetches if f not in self.fetched_feeds
        ]

    def _memory(self, buffer: schema.Buffer, starts: list[int]) -> Array | None:
        if buffer.place == "arena":
            size = _value(buffer.size, self.values)
            start = starts[buffer.slot] + buffer.offset
            return np.ndarray((size,), dtypes.ALL[buffer.dtype], self.backend.arena, start)
        if buffer.place == "variable":
            return self.backend.variables[buffer.name].reshape(-1)
        return self.backend.constants[buffer.name].reshape(-1) if buffer.place == "constant" else None

    def _address(self, position: int) -> int:
        memory = self.memory[position]
        address: int = memory.__array_interface__["data"][0] if memory is not None else 0
        return address

    def _print(self, position: int, number: int) -> tuple[Array, Array]:
        item = self.program.instructions[number]
        if not isinstance(item, schema.Print):
            raise LazyflowError(f"instruction {number} is no print")
        shape = tuple(_value(e, self.values) for e in item.space)
        value = np.zeros(shape, dtypes.ALL[self.program.buffers[item.source.buffer].dtype])
        flag = np.zeros(1, np.uint8)
        base = len(self.program.buffers) + 2 * position
        self.addresses[base], self.addresses[base + 1] = value.ctypes.data, flag.ctypes.data
        return flag, value

    def view(self, access: schema.Access, shape: schema.Extents, feeds: Mapping[str, Array]) -> Array:
        """What an access sees over a space."""
        buffer = self.program.buffers[access.buffer]
        memory = self.memory[access.buffer]
        if memory is None:
            memory = feeds[buffer.name].reshape(-1)
        dtype = dtypes.ALL[buffer.dtype]
        strides = tuple(_value(s, self.values) * dtype.itemsize for s in access.strides)
        extents = tuple(_value(e, self.values) for e in shape)
        offset = _value(access.offset, self.values) * dtype.itemsize
        return np.ndarray(extents, dtype, memory.view(np.uint8), offset, strides)

    def explain(self, document: schema.Document, number: int, feeds: Mapping[str, Array]) -> None:
        """Raise the error of the instruction that failed."""
        item = self.program.instructions[number]
        if isinstance(item, schema.Gather | schema.ScatterAdd | schema.Check):
            limit = item.size if isinstance(item, schema.Check) else item.axis_size
            index = self.view(item.index, item.space, feeds)
            check_index(index, _value(limit, self.values), document, item)
        raise OutOfRangeError(f"group index {int(self._fault[0])} is outside of its optimizer's groups")
