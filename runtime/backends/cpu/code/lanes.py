"""The LLVM reading of the scalar ops, on one or several lanes at once.

No flag assumes NaN or infinity away, and nothing is contracted: a product and a sum are rounded separately,
so that lanes, remainders and other hosts give the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lazyflow.runtime import dtypes
from lazyflow.runtime.backends.cpu.code.vectormath import FLOAT32, use
from lazyflow.runtime.backends.cpu.code.writer import (
    COMPUTED,
    STORED,
    Writer,
    is_unsigned,
    number,
    splat,
    suffix,
    vector,
)
from lazyflow.runtime.dtypes import DType

_PHILOX_ARGUMENTS = ("%seed", "%run", "%stream", "%element")
Reading = Callable[["Lanes", Sequence[str]], str]


class Lanes:
    """One op on ``width`` lanes of operands of one dtype."""

    def __init__(self, writer: Writer, width: int, dtype: DType) -> None:
        self.writer = writer
        self.width = width
        self.dtype = dtype
        self.scalar = COMPUTED[dtype]
        self.type = vector(self.scalar, width)
        self.floating = dtypes.is_floating(dtype)
        self.unsigned = is_unsigned(dtype)

    def number(self, value: bool | int | float) -> str:
        """A literal in all lanes."""
        return splat(number(value, self.scalar), self.scalar, self.width)

    def op(self, instruction: str, *args: str) -> str:
        """An instruction on operands of this type."""
        return self.writer.let(f"{instruction} {self.type} {', '.join(args)}")

    def intrinsic(self, name: str, *args: str) -> str:
        """An intrinsic of this type."""
        arguments = [f"{self.type} {a}" for a in args]
        return self.writer.call(self.type, f"llvm.{name}.{suffix(self.scalar, self.width)}", *arguments)

    def select(self, condition: str, a: str, b: str) -> str:
        """``a`` where the condition holds, else ``b``."""
        bools = vector("i1", self.width)
        return self.writer.let(f"select {bools} {condition}, {self.type} {a}, {self.type} {b}")

    def compare(self, predicate: str, a: str, b: str) -> str:
        """An fcmp or icmp."""
        return self.op(f"{'fcmp' if self.floating else 'icmp'} {predicate}", a, b)

    def bools(self, instruction: str, *args: str) -> str:
        """An instruction on lanes of i1."""
        return self.writer.let(f"{instruction} {vector('i1', self.width)} {', '.join(args)}")


def _arithmetic(floating: str, integer: str) -> Reading:
    return lambda lanes, args: lanes.op(floating if lanes.floating else integer, *args)


def _comparison(floating: str, signed: str, unsigned: str) -> Reading:
    def read(lanes: Lanes, args: Sequence[str]) -> str:
        predicate = floating if lanes.floating else unsigned if lanes.unsigned else signed
        return lanes.compare(predicate, *args)

    return read


def _intrinsic(floating: str, signed: str = "", unsigned: str = "") -> Reading:
    def read(lanes: Lanes, args: Sequence[str]) -> str:
        return lanes.intrinsic(floating if lanes.floating else unsigned if lanes.unsigned else signed, *args)

    return read


def _real(name: str, intrinsic: str | None) -> Reading:
    """A function of real numbers: our polynomial in float32, the C library's in float64."""

    def read(lanes: Lanes, args: Sequence[str]) -> str:
        if lanes.scalar == "float" and name in FLOAT32:
            return use(lanes.writer, name, lanes.width, args[0])
        if intrinsic is not None:
            return lanes.intrinsic(intrinsic, *args)
        return _each(lanes, name if lanes.scalar == "double" else f"{name}f", *args)

    return read


def _each(lanes: Lanes, function: str, *args: str) -> str:
    """A function of the C library, lane by lane."""
    writer, scalar = lanes.writer, lanes.scalar
    if lanes.width == 1:
        return writer.call(scalar, function, *(f"{scalar} {a}" for a in args))
    result = "poison"
    for lane in range(lanes.width):
        parts = [writer.let(f"extractelement {lanes.type} {a}, i64 {lane}") for a in args]
        one = writer.call(scalar, function, *(f"{scalar} {p}" for p in parts))
        result = writer.let(f"insertelement {lanes.type} {result}, {scalar} {one}, i64 {lane}")
    return result


def _pow(lanes: Lanes, args: Sequence[str]) -> str:
    if lanes.floating:
        return lanes.intrinsic("pow", *args)
    writer = lanes.writer
    wide = Lanes(writer, lanes.width, dtypes.int64)
    a, b = (convert(writer, lanes.width, x, lanes.dtype, dtypes.int64) for x in args)
    return convert(writer, lanes.width, _each(wide, "lazyflow.power", a, b), dtypes.int64, lanes.dtype)


def _sign(lanes: Lanes, args: Sequence[str]) -> str:
    (x,) = args
    zero = lanes.number(0)
    if lanes.unsigned:
        return lanes.select(lanes.compare("ne", x, zero), lanes.number(1), zero)
    more, less = ("ogt", "olt") if lanes.floating else ("sgt", "slt")
    positive = lanes.select(lanes.compare(more, x, zero), lanes.number(1), zero)
    result = lanes.select(lanes.compare(less, x, zero), lanes.number(-1), positive)
    return lanes.select(lanes.compare("uno", x, x), x, result) if lanes.floating else result


def _absolute(lanes: Lanes, args: Sequence[str]) -> str:
    if lanes.floating:
        return lanes.intrinsic("fabs", *args)
    if lanes.unsigned:
        return args[0]
    return lanes.select(
        lanes.compare("slt", args[0], lanes.number(0)), lanes.op("sub", lanes.number(0), args[0]), args[0]
    )


def _floor_mod(lanes: Lanes, a: str, b: str) -> tuple[str, str]:
    """Floored quotient and remainder, as Python has them; both 0 where an integer divisor is 0."""
    zero = lanes.number(0)
    if lanes.floating:
        return _float_floor_mod(lanes, a, b)
    safe = lanes.select(lanes.compare("eq", b, zero), lanes.number(1), b)
    by_zero = lanes.compare("eq", b, zero)
    if lanes.unsigned:
        quotient, rest = lanes.op("udiv", a, safe), lanes.op("urem", a, safe)
        return lanes.select(by_zero, zero, quotient), lanes.select(by_zero, zero, rest)
    minus = lanes.compare("eq", safe, lanes.number(-1))  # the least integer over -1 traps: negate instead
    divisor = lanes.select(minus, lanes.number(1), safe)
    quotient, rest = lanes.op("sdiv", a, divisor), lanes.op("srem", a, divisor)
    quotient = lanes.select(minus, lanes.op("sub", zero, a), quotient)
    rest = lanes.select(minus, zero, rest)
    differs = lanes.compare("slt", lanes.op("xor", rest, safe), zero)
    adjust = lanes.bools("and", differs, lanes.compare("ne", rest, zero))
    quotient = lanes.select(adjust, lanes.op("sub", quotient, lanes.number(1)), quotient)
    rest = lanes.select(adjust, lanes.op("add", rest, safe), rest)
    return lanes.select(by_zero, zero, quotient), lanes.select(by_zero, zero, rest)


def _float_floor_mod(lanes: Lanes, a: str, b: str) -> tuple[str, str]:
    """As NumPy's: from the exact remainder, so that quotient * b + remainder is a up to rounding."""
    zero, one = lanes.number(0), lanes.number(1)
    rest = lanes.op("frem", a, b)
    quotient = lanes.op("fdiv", lanes.op("fsub", a, rest), b)
    opposite = lanes.bools("xor", lanes.compare("olt", b, zero), lanes.compare("olt", rest, zero))
    adjust = lanes.bools("and", opposite, lanes.compare("une", rest, zero))
    rest = lanes.select(adjust, lanes.op("fadd", rest, b), rest)
    rest = lanes.select(lanes.compare("oeq", rest, zero), lanes.intrinsic("copysign", zero, b), rest)
    quotient = lanes.select(adjust, lanes.op("fsub", quotient, one), quotient)
    floored = lanes.intrinsic("floor", quotient)
    short = lanes.compare("ogt", lanes.op("fsub", quotient, floored), lanes.number(0.5))
    floored = lanes.select(short, lanes.op("fadd", floored, one), floored)
    plain = lanes.op("fdiv", a, b)
    by_zero = lanes.compare("oeq", b, zero)
    return lanes.select(by_zero, plain, floored), rest


def _philox(lanes: Lanes, args: Sequence[str]) -> str:
    """A call of a function: its ten rounds are long, and a kernel may draw many times."""
    lanes.writer.functions.add(("philox", lanes.width))
    given = ", ".join(f"{lanes.type} {a}" for a in args)
    return lanes.writer.let(f"call {vector('i32', lanes.width)} @lazyflow.philox.{lanes.width}({given})")


def define_philox(width: int) -> str:
    """The function that ``philox`` calls, on 64-bit lanes; see ``scalars.philox``."""
    lanes = Lanes(Writer(), width, dtypes.int64)
    word = _philox_word(lanes, _PHILOX_ARGUMENTS)
    result, given = vector("i32", width), ", ".join(f"{lanes.type} {name}" for name in _PHILOX_ARGUMENTS)
    lines = "\n".join([*lanes.writer.lines, f"  ret {result} {word}"])
    return f"define internal {result} @lazyflow.philox.{width}({given}) #0 {{\n{lines}\n}}"


def _philox_word(lanes: Lanes, args: Sequence[str]) -> str:
    seed, run, stream, element = args
    op = lanes.op
    mask, half = lanes.number(0xFFFFFFFF), lanes.number(32)
    k0, k1 = op("and", seed, mask), op("lshr", seed, half)
    c0, c1 = op("and", op("lshr", element, lanes.number(2)), mask), op("and", stream, mask)
    c2, c3 = op("and", run, mask), op("lshr", run, half)
    for _ in range(10):
        p0, p1 = op("mul", c0, lanes.number(0xD2511F53)), op("mul", c2, lanes.number(0xCD9E8D57))
        c0, c1, c2, c3 = (
            op("xor", op("xor", op("lshr", p1, half), c1), k0),
            op("and", p1, mask),
            op("xor", op("xor", op("lshr", p0, half), c3), k1),
            op("and", p0, mask),
        )
        k0 = op("and", op("add", k0, lanes.number(0x9E3779B9)), mask)
        k1 = op("and", op("add", k1, lanes.number(0xBB67AE85)), mask)
    word = op("and", element, lanes.number(3))
    chosen = c3
    for position, candidate in ((2, c2), (1, c1), (0, c0)):
        chosen = lanes.select(lanes.compare("eq", word, lanes.number(position)), candidate, chosen)
    return lanes.writer.let(f"trunc {lanes.type} {chosen} to {vector('i32', lanes.width)}")


def _is_finite(lanes: Lanes, args: Sequence[str]) -> str:
    return lanes.compare("olt", lanes.intrinsic("fabs", args[0]), lanes.number(float("inf")))


READINGS: dict[str, Reading] = {
    "add": _arithmetic("fadd", "add"),
    "sub": _arithmetic("fsub", "sub"),
    "mul": _arithmetic("fmul", "mul"),
    "div": _arithmetic("fdiv", "sdiv"),
    "floor_div": lambda lanes, args: _floor_mod(lanes, *args)[0],
    "mod": lambda lanes, args: _floor_mod(lanes, *args)[1],
    "pow": _pow,
    "minimum": _intrinsic("minimum", "smin", "umin"),
    "maximum": _intrinsic("maximum", "smax", "umax"),
    "neg": lambda lanes, args: (
        lanes.op("fneg", *args) if lanes.floating else lanes.op("sub", lanes.number(0), *args)
    ),
    "abs": _absolute,
    "sign": _sign,
    "exp": _real("exp", "exp"),
    "expm1": _real("expm1", None),
    "log": _real("log", "log"),
    "log1p": _real("log1p", None),
    "sqrt": _intrinsic("sqrt"),
    "rsqrt": lambda lanes, args: lanes.op("fdiv", lanes.number(1), lanes.intrinsic("sqrt", *args)),
    "tanh": _real("tanh", None),
    "erf": _real("erf", None),
    "sin": _real("sin", "sin"),
    "cos": _real("cos", "cos"),
    "floor": _intrinsic("floor"),
    "ceil": _intrinsic("ceil"),
    "round": _intrinsic("roundeven"),
    "isfinite": _is_finite,
    "eq": _comparison("oeq", "eq", "eq"),
    "ne": _comparison("une", "ne", "ne"),
    "lt": _comparison("olt", "slt", "ult"),
    "le": _comparison("ole", "sle", "ule"),
    "gt": _comparison("ogt", "sgt", "ugt"),
    "ge": _comparison("oge", "sge", "uge"),
    "logical_and": lambda lanes, args: lanes.op("and", *args),
    "logical_or": lambda lanes, args: lanes.op("or", *args),
    "logical_not": lambda lanes, args: lanes.op("xor", *args, lanes.number(True)),
    "philox": _philox,
}


def convert(writer: Writer, width: int, x: str, source: DType, target: DType) -> str:
    """A value as another dtype: floats saturate when they become integers, and NaN gives 0."""
    if source == target:
        return x
    old, new = COMPUTED[source], COMPUTED[target]
    before, after = vector(old, width), vector(new, width)
    if target == dtypes.bool_:
        zero = splat(number(0, old), old, width)
        return writer.let(f"{'fcmp une' if dtypes.is_floating(source) else 'icmp ne'} {before} {x}, {zero}")
    if dtypes.is_floating(source) and not dtypes.is_floating(target):
        name = f"llvm.fpto{'u' if is_unsigned(target) else 's'}i.sat"
        return writer.call(after, f"{name}.{suffix(new, width)}.{suffix(old, width)}", f"{before} {x}")
    if old == new:
        return rounded(writer, width, x, target)
    if dtypes.is_floating(source):
        kind = "fpext" if old == "float" else "fptrunc"
    elif dtypes.is_floating(target):
        kind = "uitofp" if is_unsigned(source) else "sitofp"
    elif int(old[1:]) > int(new[1:]):
        kind = "trunc"
    else:
        kind = "zext" if is_unsigned(source) else "sext"
    return rounded(writer, width, writer.let(f"{kind} {before} {x} to {after}"), target)


def rounded(writer: Writer, width: int, x: str, dtype: DType) -> str:
    """A float rounded to a half type; others as they are."""
    if dtype not in dtypes.HALF:
        return x
    return from_stored(writer, width, to_stored(writer, width, x, dtype), dtype)


def to_stored(writer: Writer, width: int, x: str, dtype: DType) -> str:
    """A computed value in the type that memory holds."""
    before, after = vector(COMPUTED[dtype], width), vector(STORED[dtype], width)
    if dtype == dtypes.bool_:
        return writer.let(f"zext {before} {x} to {after}")
    if dtype == dtypes.float16:
        return writer.let(f"fptrunc {before} {x} to {after}")
    if dtype != dtypes.bfloat16:
        return x
    # by hand: the host's own instruction flushes subnormal numbers to zero
    words = vector("i32", width)
    bits = writer.let(f"bitcast {before} {x} to {words}")
    high = writer.let(f"lshr {words} {bits}, {splat('16', 'i32', width)}")
    odd = writer.let(f"and {words} {high}, {splat('1', 'i32', width)}")
    half = writer.let(f"add {words} {bits}, {splat(str(0x7FFF), 'i32', width)}")
    carried = writer.let(
        f"lshr {words} {writer.let(f'add {words} {half}, {odd}')}, {splat('16', 'i32', width)}"
    )
    quiet = writer.let(f"or {words} {high}, {splat(str(0x40), 'i32', width)}")
    nan = writer.let(f"fcmp uno {before} {x}, {x}")
    chosen = writer.let(f"select {vector('i1', width)} {nan}, {words} {quiet}, {words} {carried}")
    return writer.let(f"trunc {words} {chosen} to {after}")


def from_stored(writer: Writer, width: int, x: str, dtype: DType) -> str:
    """A value as memory holds it in the type that is computed with."""
    before, after = vector(STORED[dtype], width), vector(COMPUTED[dtype], width)
    if dtype == dtypes.bool_:
        return writer.let(f"icmp ne {before} {x}, {splat('0', 'i8', width)}")
    if dtype == dtypes.float16:
        return writer.let(f"fpext {before} {x} to {after}")
    if dtype != dtypes.bfloat16:
        return x
    words = vector("i32", width)
    wide = writer.let(f"zext {before} {x} to {words}")
    bits = writer.let(f"shl {words} {wide}, {splat('16', 'i32', width)}")
    return writer.let(f"bitcast {words} {bits} to {after}")


def apply(writer: Writer, width: int, op: str, args: Sequence[str], operand: DType, result: DType) -> str:
    """One scalar op on lanes: ``args`` of dtype ``operand``, a result of dtype ``result``."""
    if op == "cast":
        return convert(writer, width, args[0], operand, result)
    if op == "where":
        lanes = Lanes(writer, width, result)
        return lanes.select(*args)
    value = READINGS[op](Lanes(writer, width, operand), args)
    return rounded(writer, width, value, result)
