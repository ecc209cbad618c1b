"""float32 functions on lanes against the C library in float64, over bit patterns from everywhere."""

import ctypes
import math

import numpy as np
import pytest
import scipy.special

from lazyflow.runtime.backends.cpu.code.vectormath import FLOAT32, define, vector
from lazyflow.runtime.backends.cpu.running.jit import ATTRIBUTES, Machine

EXACT = {
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "tanh": np.tanh,
    "erf": scipy.special.erf,
    "sin": np.sin,
    "cos": np.cos,
}
WIDTH = 16
BOUND = 0.52  # units of the last place; half of one is lost by rounding alone


def loop(name):
    """A function of two arrays and a count of vectors."""
    type_ = vector("float", WIDTH)
    return f"""
define void @over.{name}(ptr %x, ptr %y, i64 %count) #0 {{
entry:
  br label %head
head:
  %i = phi i64 [0, %entry], [%next, %head]
  %from = getelementptr {type_}, ptr %x, i64 %i
  %to = getelementptr {type_}, ptr %y, i64 %i
  %a = load {type_}, ptr %from, align 4
  %b = call {type_} @lazyflow.{name}.{WIDTH}({type_} %a)
  store {type_} %b, ptr %to, align 4
  %next = add i64 %i, 1
  %more = icmp ult i64 %next, %count
  br i1 %more, label %head, label %done
done:
  ret void
}}"""


@pytest.fixture(scope="module")
def functions():
    """Each function on arrays whose length is a multiple of the lanes."""
    machine, parts, needs = Machine(), [], set()
    for name in FLOAT32:
        definition, declarations = define(name, WIDTH)
        parts += [definition, loop(name)]
        needs |= declarations
    engine = machine.load(machine.compile("\n".join([*sorted(needs), *parts, ATTRIBUTES])))
    signature = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)

    def function(name):
        native = signature(engine.get_function_address(f"over.{name}"))

        def apply(x):
            y = np.empty_like(x)
            native(x.ctypes.data, y.ctypes.data, x.size // WIDTH)
            return y

        apply.engine = engine  # which owns the code
        return apply

    return {name: function(name) for name in FLOAT32}


def worst(name, function, x):
    """The largest error in units of the last place; NaN and infinities must be those of the C library."""
    with np.errstate(all="ignore"):
        y = function(x).astype(np.float64)
        exact = EXACT[name](x.astype(np.float64))
        rounded = exact.astype(np.float32)
        np.testing.assert_array_equal(np.isnan(y), np.isnan(exact))
        finite = np.isfinite(rounded) & np.isfinite(y)
        other = ~finite & ~np.isnan(y)
        # beside the largest float32, infinity is half a unit away
        far = other & (y != rounded)
        assert np.all(np.abs(exact[far]) > 3.4028234e38), x[far][:4]
        unit = np.spacing(np.abs(rounded[finite])).astype(np.float64)
        error = np.abs(y[finite] - exact[finite]) / unit
    return float(error.max(initial=0.0))


def patterns(step, start=0):
    """Every ``step``-th of all 2**32 float32, in parts."""
    for low in range(start, 2**32, step << 22):
        bits = np.arange(low, min(low + (step << 22), 2**32), step, dtype=np.uint64).astype(np.uint32)
        yield bits[: bits.size // WIDTH * WIDTH].view(np.float32)


@pytest.mark.parametrize("name", FLOAT32)
def test_error_is_about_half_a_unit_over_sampled_bit_patterns(name, functions):
    assert max(worst(name, functions[name], x) for x in patterns(1009)) < BOUND


def every(low, high):
    """All float32 of either sign from one magnitude to another, in parts."""
    first, last = np.array([low, high], np.float32).view(np.uint32).tolist()
    for sign in (0, 1 << 31):
        for part in range(first, last, 1 << 22):
            yield np.arange(part | sign, part + (1 << 22) | sign, dtype=np.uint32).view(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("name", FLOAT32)
def test_error_is_about_half_a_unit_over_every_float32_of_usual_magnitude(name, functions):
    # most functions of smaller ones are nearly linear, and of larger ones at their limit
    assert max(worst(name, functions[name], x) for x in every(2.0**-14, 128.0)) < BOUND


@pytest.mark.slow
@pytest.mark.parametrize("name", FLOAT32)
def test_error_is_about_half_a_unit_over_many_bit_patterns(name, functions):
    assert max(worst(name, functions[name], x) for x in patterns(17, start=3)) < BOUND


@pytest.mark.parametrize("name", FLOAT32)
def test_special_numbers_are_those_of_the_c_library(name, functions):
    special = [0.0, -0.0, math.inf, -math.inf, math.nan, 1.0, -1.0, 1e-45, -1e-45, 3.4e38, -3.4e38, -2.0]
    x = np.array(special + [0.5] * (WIDTH - len(special)), np.float32)
    with np.errstate(all="ignore"):
        exact = EXACT[name](x.astype(np.float64)).astype(np.float32)
    y = functions[name](x)
    np.testing.assert_array_max_ulp(y[np.isfinite(exact)], exact[np.isfinite(exact)], 1)
    np.testing.assert_array_equal(y[~np.isfinite(exact)], exact[~np.isfinite(exact)])
    zero = exact == 0
    np.testing.assert_array_equal(np.signbit(y[zero]), np.signbit(exact[zero]))
