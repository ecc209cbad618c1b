"""Text of LLVM IR: fresh names, typed constants, loops."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager

from lazyflow.runtime import dtypes
from lazyflow.runtime.dtypes import DType
from lazyflow.runtime.schema import Number

# How elements are kept in memory, and how they are computed with. Half types compute in float.
STORED = {
    dtypes.bool_: "i8",
    dtypes.uint8: "i8",
    dtypes.int8: "i8",
    dtypes.int16: "i16",
    dtypes.int32: "i32",
    dtypes.int64: "i64",
    dtypes.uint32: "i32",
    dtypes.float16: "half",
    dtypes.bfloat16: "i16",
    dtypes.float32: "float",
    dtypes.float64: "double",
}
COMPUTED = STORED | {dtypes.bool_: "i1", dtypes.float16: "float", dtypes.bfloat16: "float"}
UNSIGNED = frozenset((dtypes.bool_, dtypes.uint8, dtypes.uint32))


def vector(type_: str, width: int) -> str:
    """The type of ``width`` lanes; the plain type for one."""
    return type_ if width == 1 else f"<{width} x {type_}>"


def suffix(type_: str, width: int) -> str:
    """How intrinsics spell the type of ``width`` lanes."""
    short = {"float": "f32", "double": "f64", "half": "f16"}.get(type_, type_)
    return short if width == 1 else f"v{width}{short}"


def number(value: Number, type_: str) -> str:
    """A scalar literal of a computed type."""
    if type_ in ("float", "double"):
        plain = float(value)
        if type_ == "float":
            plain = _as_float32(plain)
        return f"0x{struct.pack('>d', plain).hex().upper()}"
    if type_ == "i1":
        return "true" if value else "false"
    return str(int(value))


def _as_float32(value: float) -> float:
    try:
        rounded: float = struct.unpack("f", struct.pack("f", value))[0]
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")
    return rounded


def splat(literal: str, type_: str, width: int) -> str:
    """A literal in all lanes."""
    return literal if width == 1 else f"splat ({type_} {literal})"


class Writer:
    """The lines of one function, in order."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.entry: list[str] = []  # allocas: they belong into the first block
        self._count = 0
        self._arguments: dict[int, str] = {}
        self.declarations: set[str] = set()
        self.functions: set[tuple[str, int]] = set()  # of vectormath, with their widths

    def fresh(self, prefix: str = "v") -> str:
        """A new name."""
        self._count += 1
        return f"{prefix}{self._count}"

    def line(self, text: str) -> None:
        """An instruction without a result."""
        self.lines.append(f"  {text}")

    def let(self, text: str) -> str:
        """An instruction with a result; its name."""
        name = f"%{self.fresh()}"
        self.lines.append(f"  {name} = {text}")
        return name

    def block(self, label: str) -> None:
        """Start a block."""
        self.lines.append(f"{label}:")

    def slot(self, type_: str) -> str:
        """Memory for one value that is assigned again, which LLVM turns into a register."""
        name = f"%{self.fresh('slot')}"
        self.entry.append(f"  {name} = alloca {type_}")
        return name

    @contextmanager
    def at_entry(self) -> Iterator[None]:
        """Write into the first block instead, whose values are known everywhere."""
        lines, self.lines = self.lines, self.entry
        try:
            yield
        finally:
            self.lines = lines

    def call(self, result: str, function: str, *arguments: str) -> str:
        """A call of an outside function; each argument is "type value"."""
        types = ", ".join(_type_of(argument) for argument in arguments)
        self.declarations.add(f"declare {result} @{function}({types})")
        text = f"call {result} @{function}({', '.join(arguments)})"
        if result == "void":
            self.line(text)
            return ""
        return self.let(text)

    def masked(
        self, name: str, lanes: str, place: str, align: int, mask: str, stored: str | None = None
    ) -> str:
        """A masked load, store, gather or scatter; ``name`` is the intrinsic's after "llvm.masked."."""
        # LLVM 20 takes the alignment as an operand; later versions read that too, and make it an attribute
        if stored is None:
            return self.call(
                lanes, f"llvm.masked.{name}", place, f"i32 {align}", mask, f"{lanes} zeroinitializer"
            )
        return self.call("void", f"llvm.masked.{name}", f"{lanes} {stored}", place, f"i32 {align}", mask)

    def splatted(self, value: str, type_: str, width: int) -> str:
        """A scalar value in all lanes."""
        if width == 1:
            return value
        if not value.startswith("%"):
            return splat(value, type_, width)
        first = self.let(f"insertelement <{width} x {type_}> poison, {type_} {value}, i64 0")
        return self.let(
            f"shufflevector <{width} x {type_}> {first}, <{width} x {type_}> poison, "
            f"<{width} x i32> zeroinitializer"
        )

    @contextmanager
    def loop(self, start: str, stop: str, step: int = 1) -> Iterator[str]:
        """Blocks that repeat for i64 values from start, below stop; yields the index.

        With a step over 1, only whole steps are taken: stop - start is rounded down to a multiple of it.
        """
        slot = self.slot("i64")
        head, body, done = self.fresh("head"), self.fresh("body"), self.fresh("done")
        self.line(f"store i64 {start}, ptr {slot}")
        self.line(f"br label %{head}")
        self.block(head)
        index = self.let(f"load i64, ptr {slot}")
        following = self.let(f"add nsw i64 {index}, {step}")
        compare = f"icmp slt i64 {index}, {stop}" if step == 1 else f"icmp sle i64 {following}, {stop}"
        more = self.let(compare)
        self.line(f"br i1 {more}, label %{body}, label %{done}")
        self.block(body)
        yield index
        self.line(f"store i64 {following}, ptr {slot}")
        self.line(f"br label %{head}")
        self.block(done)

    @contextmanager
    def branch(self, condition: str) -> Iterator[None]:
        """A block that runs where the i1 condition holds."""
        then, done = self.fresh("then"), self.fresh("done")
        self.line(f"br i1 {condition}, label %{then}, label %{done}")
        self.block(then)
        yield
        self.line(f"br label %{done}")
        self.block(done)

    def whole_steps(self, start: str, stop: str, step: int) -> str:
        """The first index that a loop of whole steps leaves over."""
        count = self.let(f"sub i64 {stop}, {start}")
        rest = self.let(f"urem i64 {count}, {step}")
        return self.let(f"sub i64 {stop}, {rest}")

    def extreme(self, which: str, a: str, b: str) -> str:
        """The "smin" or the "smax" of two i64."""
        return self.call("i64", f"llvm.{which}.i64", f"i64 {a}", f"i64 {b}")

    def argument(self, number: int) -> str:
        """An address that the function is given; read in the first block, and so known everywhere."""
        if number not in self._arguments:
            with self.at_entry():
                self._arguments[number] = self.element("%args", "ptr", "0", number)
        return self._arguments[number]

    def element(self, base: str, type_: str, index: str, further: int) -> str:
        """The element ``index + further`` of an array in memory."""
        place = self.let(f"getelementptr {type_}, ptr {base}, i64 {index}")
        if further:
            place = self.let(f"getelementptr {type_}, ptr {place}, i64 {further}")
        return self.let(f"load {type_}, ptr {place}")


def definition(name: str, writer: Writer) -> str:
    """A native function of a task; see ``tasks``."""
    lines = "\n".join(["entry:", *writer.entry, *writer.lines])
    return f"define i64 @{name}(ptr %args, ptr %sizes, i64 %begin, i64 %end) #0 {{\n{lines}\n}}"


def _type_of(argument: str) -> str:
    return argument.split(" splat (")[0] if " splat (" in argument else argument.rsplit(" ", 1)[0]


def is_unsigned(dtype: DType) -> bool:
    """Whether integers of the dtype have no sign."""
    return dtype in UNSIGNED
