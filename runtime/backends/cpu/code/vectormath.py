"""Exponential, logarithm and their kin on vectors of float32, as polynomials evaluated in float64.

float64 holds every intermediate value of a float32 function with 29 bits to spare: no splitting of constants,
no care for subnormal results, one rounding at the end. The error is below 0.52 ULP where the series are
truncated as here (relative error below 1e-9); sines of arguments beyond 1e5 are left to the C library.
A product and a sum are fused where the host has an instruction for it: hosts may differ in the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from lazyflow.runtime.backends.cpu.code.writer import Writer, number, splat, suffix, vector

LOG2_E = 1.0 / math.log(2.0)
ROUND = 1.5 * 2.0**52  # adding it rounds to an integer, which then stands in the low bits
BIG_ANGLE = 1e5

# expm1(r) / r for |r| <= log(2) / 2: the Chebyshev interpolant of degree 6
EXPM1 = [
    1.0,
    0.5000000047118,
    0.16666666719,
    0.04166635289677,
    0.008333298483183,
    0.001394110843397,
    0.0001989927429756,
]
ATANH = [2.0 / (2 * i + 1) for i in range(7)]  # of f * f, times f: f = (m - 1) / (m + 1)
SINE = [(-1.0) ** i / math.factorial(2 * i + 1) for i in range(7)]  # of r * r, times r: |r| <= pi / 4
COSINE = [(-1.0) ** i / math.factorial(2 * i) for i in range(7)]  # of r * r
# erf(x) / x as a polynomial in (x * x - 8) / 8 for |x| <= 4: the Chebyshev interpolant of degree 18
ERF = [
    0.3535309956188,
    -0.1765762358731,
    0.1316751217802,
    -0.1077102893794,
    0.09020883404957,
    -0.07473053609798,
    0.05988893544147,
    -0.04574400173513,
    0.03304758581059,
    -0.02256359768784,
    0.01439756815886,
    -0.008382074168747,
    0.004746829466103,
    -0.002911838970361,
    0.001438018182068,
    -0.0003243025958975,
    0.0001583410902039,
    -0.0002467088219547,
    9.735199665009e-05,
]


class Reals:
    """Lanes of float64 while a float32 function is computed."""

    def __init__(self, writer: Writer, width: int) -> None:
        self.writer = writer
        self.width = width
        self.type = vector("double", width)
        self.bits = vector("i64", width)

    def number(self, value: float) -> str:
        """A literal in all lanes."""
        return splat(number(value, "double"), "double", self.width)

    def op(self, instruction: str, *args: str | float) -> str:
        """An instruction on lanes and literals."""
        texts = [a if isinstance(a, str) else self.number(a) for a in args]
        return self.writer.let(f"{instruction} {self.type} {', '.join(texts)}")

    def multiply_add(self, a: str, b: str | float, c: str | float) -> str:
        """A * b + c, rounded once where the host has an instruction for it."""
        texts = [v if isinstance(v, str) else self.number(v) for v in (a, b, c)]
        return self.intrinsic("fmuladd", *texts)  # fma would be a slow call where it has none

    def polynomial(self, x: str, coefficients: Sequence[float]) -> str:
        """The value of a polynomial, lowest coefficient first: even and odd powers apart, as Horner does."""
        square = self.op("fmul", x, x)
        odd, even = (self._horner(square, coefficients[i::2]) for i in (1, 0))
        return self.multiply_add(x, odd, even)

    def _horner(self, x: str, coefficients: Sequence[float]) -> str:
        value: str | float = coefficients[-1]
        for coefficient in reversed(coefficients[:-1]):
            value = self.multiply_add(x, value, coefficient)
        return str(value)

    def integer(self, instruction: str, a: str, b: int | str) -> str:
        """An instruction on the bits of the lanes."""
        other = b if isinstance(b, str) else splat(str(b), "i64", self.width)
        return self.writer.let(f"{instruction} {self.bits} {a}, {other}")

    def to_bits(self, x: str) -> str:
        """The bits of the lanes."""
        return self.writer.let(f"bitcast {self.type} {x} to {self.bits}")

    def from_bits(self, x: str) -> str:
        """Lanes with these bits."""
        return self.writer.let(f"bitcast {self.bits} {x} to {self.type}")

    def select(self, condition: str, a: str | float, b: str | float) -> str:
        """``a`` where the condition holds, else ``b``."""
        texts = [v if isinstance(v, str) else self.number(v) for v in (a, b)]
        bools = vector("i1", self.width)
        return self.writer.let(f"select {bools} {condition}, {self.type} {texts[0]}, {self.type} {texts[1]}")

    def intrinsic(self, name: str, *args: str) -> str:
        """An intrinsic of float64."""
        full = f"llvm.{name}.{suffix('double', self.width)}"
        return self.writer.call(self.type, full, *(f"{self.type} {a}" for a in args))

    def power_of_two(self, rounded: str) -> str:
        """2**n, where ``rounded`` is n + ROUND."""
        exponent = self.integer("shl", self.to_bits(rounded), 52)
        return self.from_bits(self.integer("add", exponent, 1023 << 52))


def _expm1_parts(m: Reals, x: str) -> tuple[str, str]:
    """2**n and expm1(r), where x = n log(2) + r; x is clipped to where float32 is neither 0 nor infinite."""
    x = m.select(m.op("fcmp ogt", x, 130.0), 130.0, x)
    x = m.select(m.op("fcmp olt", x, -130.0), -130.0, x)
    rounded = m.multiply_add(x, LOG2_E, ROUND)
    n = m.op("fsub", rounded, ROUND)
    r = m.multiply_add(n, -math.log(2.0), x)
    return m.power_of_two(rounded), m.op("fmul", r, m.polynomial(r, EXPM1))


def _keep_nan(m: Reals, x: str, result: str) -> str:
    return m.select(m.op("fcmp uno", x, x), x, result)


def _exp(m: Reals, x: str) -> str:
    scale, q = _expm1_parts(m, x)
    return m.multiply_add(scale, q, scale)


def _expm1_of(m: Reals, x: str) -> str:
    scale, q = _expm1_parts(m, x)
    return m.multiply_add(scale, q, m.op("fsub", scale, 1.0))


def _expm1(m: Reals, x: str) -> str:
    tiny = m.op("fcmp oeq", x, 0.0)  # keeps the sign of zero
    return m.select(tiny, x, _expm1_of(m, x))


def _log_of(m: Reals, x: str) -> str:
    """The logarithm of positive, finite lanes."""
    bits = m.to_bits(x)
    root_half = 0x3FE6A09E667F3BCD
    k = m.integer("ashr", m.integer("sub", bits, root_half), 52)
    mantissa = m.from_bits(m.integer("sub", bits, m.integer("shl", k, 52)))
    f = m.op("fdiv", m.op("fsub", mantissa, 1.0), m.op("fadd", mantissa, 1.0))
    series = m.op("fmul", f, m.polynomial(m.op("fmul", f, f), ATANH))
    exponent = m.writer.let(f"sitofp {m.bits} {k} to {m.type}")
    return m.multiply_add(exponent, math.log(2.0), series)


def _log(m: Reals, x: str) -> str:
    result = _log_of(m, x)
    result = m.select(m.op("fcmp oeq", x, 0.0), -math.inf, result)
    result = m.select(m.op("fcmp olt", x, 0.0), math.nan, result)
    return _keep_nan(m, x, m.select(m.op("fcmp oeq", x, math.inf), math.inf, result))


def _log1p(m: Reals, x: str) -> str:
    """log(u) * x / (u - 1) with u = 1 + x undoes the rounding of u (Kahan)."""
    u = m.op("fadd", x, 1.0)
    undone = m.op("fdiv", m.op("fmul", _log(m, u), x), m.op("fsub", u, 1.0))
    result = m.select(m.op("fcmp oeq", u, 1.0), x, undone)
    result = m.select(m.op("fcmp oeq", u, 0.0), -math.inf, result)
    return m.select(m.op("fcmp oeq", x, math.inf), math.inf, result)


def _tanh(m: Reals, x: str) -> str:
    """expm1(2|x|) / (expm1(2|x|) + 2), with the sign of x."""
    magnitude = m.intrinsic("fabs", x)
    magnitude = m.select(m.op("fcmp ogt", magnitude, 20.0), 20.0, magnitude)
    t = _expm1_of(m, m.op("fmul", magnitude, 2.0))
    return m.intrinsic("copysign", m.op("fdiv", t, m.op("fadd", t, 2.0)), x)


def _erf(m: Reals, x: str) -> str:
    clipped = m.select(m.op("fcmp ogt", x, 4.0), 4.0, x)
    clipped = m.select(m.op("fcmp olt", clipped, -4.0), -4.0, clipped)
    v = m.op("fmul", m.op("fsub", m.op("fmul", clipped, clipped), 8.0), 0.125)
    return m.op("fmul", clipped, m.polynomial(v, ERF))


def _angle(m: Reals, x: str) -> tuple[str, str, str]:
    """The quarter turns of x (bits), and the sine and the cosine of the rest."""
    rounded = m.op("fadd", m.op("fmul", x, 2.0 / math.pi), ROUND)
    n = m.op("fsub", rounded, ROUND)
    # pi / 2 in two parts, the first with 33 bits: its products with n are exact
    r = m.op("fsub", x, m.op("fmul", n, 1.57079632673412561417))
    r = m.op("fsub", r, m.op("fmul", n, 6.07710050650619224932e-11))
    square = m.op("fmul", r, r)
    return m.to_bits(rounded), m.op("fmul", r, m.polynomial(square, SINE)), m.polynomial(square, COSINE)


def _turned(m: Reals, x: str, quarter: int) -> str:
    """The sine of x and ``quarter`` quarter turns."""
    turns, sine, cosine = _angle(m, x)
    turns = m.integer("add", turns, quarter)
    odd = m.integer("icmp ne", m.integer("and", turns, 1), 0)
    minus = m.integer("icmp ne", m.integer("and", turns, 2), 0)
    value = m.select(odd, cosine, sine)
    return m.select(minus, m.op("fneg", value), value)


FLOAT32: dict[str, Callable[[Reals, str], str]] = {
    "exp": _exp,
    "expm1": _expm1,
    "log": _log,
    "log1p": _log1p,
    "tanh": _tanh,
    "erf": _erf,
    "sin": lambda m, x: _turned(m, x, 0),
    "cos": lambda m, x: _turned(m, x, 1),
}


def use(writer: Writer, name: str, width: int, x: str) -> str:
    """A call of a float32 function, which the module then has to define."""
    writer.functions.add((name, width))
    type_ = vector("float", width)
    return writer.let(f"call {type_} @lazyflow.{name}.{width}({type_} {x})")


def define(name: str, width: int) -> tuple[str, set[str]]:
    """The definition of a function on ``width`` lanes, and the declarations that it needs."""
    writer = Writer()
    m = Reals(writer, width)
    single = vector("float", width)
    x = writer.let(f"fpext {single} %x to {m.type}")
    if name in ("sin", "cos"):
        _call_library_for_big_angles(writer, m, name, x)
    result = writer.let(f"fptrunc {m.type} {FLOAT32[name](m, x)} to {single}")
    writer.line(f"ret {single} {result}")
    head = f"define internal {single} @lazyflow.{name}.{width}({single} %x) #1 {{\nentry:\n"
    return head + "\n".join(writer.lines) + "\n}\n", writer.declarations


def _call_library_for_big_angles(writer: Writer, m: Reals, name: str, x: str) -> None:
    big = m.op("fcmp ogt", m.intrinsic("fabs", x), BIG_ANGLE)
    if m.width > 1:
        big = writer.call(
            "i1", f"llvm.vector.reduce.or.{suffix('i1', m.width)}", f"{vector('i1', m.width)} {big}"
        )
    with writer.branch(big):
        result = m.intrinsic(name, x)
        single = vector("float", m.width)
        writer.line(f"ret {single} {writer.let(f'fptrunc {m.type} {result} to {single}')}")
        writer.block(writer.fresh("unreached"))
