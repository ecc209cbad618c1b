"""Builds small documents of plans by hand, for tests of the runtime."""

import math
from typing import NamedTuple

from lazyflow.runtime import schema
from lazyflow.runtime.dimensions import elements, named, parse
from lazyflow.runtime.dtypes import ALL
from lazyflow.runtime.plan import Plan


class Value(NamedTuple):
    """A buffer seen as a C-contiguous array."""

    buffer: int
    shape: tuple
    dtype: str
    strides: tuple

    def access(self, strides=None, offset=0):
        return schema.Access(
            buffer=self.buffer, offset=offset, strides=self.strides if strides is None else strides
        )

    @property
    def flat(self):
        return self._replace(shape=(math.prod(self.shape),), strides=(1,))


def size(extent):
    return named(extent) if isinstance(extent, str) and extent.isidentifier() else _parsed(extent)


def _parsed(extent):
    return parse(extent) if isinstance(extent, str) else extent


def text(extent):
    return extent if isinstance(extent, int) else str(extent)


def contiguous(shape):
    return tuple(text(elements(size(n) for n in shape[axis + 1 :])) for axis in range(len(shape)))


def call(op, *args, dtype="float32", value=None):
    return schema.Call(op=op, args=args, dtype=dtype, value=value)


def literal(value, dtype="float32"):
    return schema.Call(op="literal", dtype=dtype, value=value)


class Program:
    """Gathers the parts of one program; every value of the arena has a slot of its own."""

    def __init__(self, name="main", dimensions=("batch",)):
        self.name = name
        self.dimensions = dimensions
        self.feeds, self.fetches, self.buffers, self.instructions, self.slots = [], [], [], [], []

    def _buffer(self, shape, dtype, **place):
        count = text(elements(size(n) for n in shape))
        self.buffers.append(schema.Buffer(dtype=dtype, size=count, **place))
        return Value(len(self.buffers) - 1, tuple(shape), dtype, contiguous(shape))

    def feed(self, name, shape, dtype="float32", location=""):
        value = self._buffer(shape, dtype, place="feed", name=name)
        self.feeds.append(
            schema.Feed(name=name, dtype=dtype, shape=shape, buffer=value.buffer, location=location)
        )
        return value

    def variable(self, name, shape, dtype="float32"):
        return self._buffer(shape, dtype, place="variable", name=name)

    def constant(self, name, shape, dtype="float32"):
        return self._buffer(shape, dtype, place="constant", name=name)

    def arena(self, shape, dtype="float32", slot=None, offset=0):
        value = self._buffer(
            shape, dtype, place="arena", slot=len(self.slots) if slot is None else slot, offset=offset
        )
        if slot is None:
            self.slots.append(text(elements(size(n) for n in shape) * ALL[dtype].itemsize))
        return value

    def fetch(self, name, value):
        self.fetches.append(
            schema.Fetch(name=name, dtype=value.dtype, shape=value.shape, source=value.access())
        )

    def add(self, instruction):
        self.instructions.append(instruction)

    def kernel(self, reads, body, writes, space=None, inner=0, when=None):
        """Reads are Values or Accesses; writes pair the number of a value with one."""
        space = reads[0].shape if space is None else space
        self.add(
            schema.Kernel(
                space=space,
                inner=inner,
                reads=tuple(_access(read) for read in reads),
                body=tuple(body),
                writes=tuple(schema.Write(value=number, to=_access(to)) for number, to in writes),
                when=when,
            )
        )

    def done(self):
        return schema.Program(
            name=self.name,
            dimensions=self.dimensions,
            feeds=tuple(self.feeds),
            fetches=tuple(self.fetches),
            buffers=tuple(self.buffers),
            instructions=tuple(self.instructions),
            slots=tuple(self.slots),
        )


def _access(item):
    return item.access() if isinstance(item, Value) else item


def document(*programs, variables=(), constants=(), **tables):
    return schema.Document(
        name="test",
        programs=tuple(p.done() if isinstance(p, Program) else p for p in programs),
        variables=tuple(variables),
        constants=tuple(constants),
        **tables,
    )


def variable(name, shape=(), dtype="float32", initial=0.0):
    return schema.Variable(name=name, dtype=dtype, shape=shape, initial=initial)


def plan(*programs, arrays=None, variables=(), constants=(), **tables):
    return Plan(document(*programs, variables=variables, constants=constants, **tables), arrays or {})
