"""What scalar ops and bodies compute, against values written down or computed by NumPy, SciPy and Python."""

import math
import operator

import ml_dtypes
import numpy as np
import pytest
import scipy.special
from hypothesis import given
from hypothesis import strategies as st

from documents import call, literal
from lazyflow.runtime import dtypes
from lazyflow.runtime.scalars import SCALARS, cast, evaluate_body, fits_number, philox

INT64 = np.iinfo(np.int64)
HALVES = (dtypes.float16, dtypes.bfloat16)


def compute(op, *arguments, dtype=None):
    """One op on arrays, through a body."""
    arrays = [np.asarray(a) for a in arguments]
    shape = np.broadcast_shapes(*(a.shape for a in arrays))
    body = [call(op, *range(len(arrays)), dtype=(dtype or arrays[0].dtype).name)]
    arrays = [a if a.ndim == len(shape) or a.ndim == 0 else np.broadcast_to(a, shape) for a in arrays]
    return evaluate_body(body, arrays, space=shape, inner=0, sizes={}, results=[len(arrays)])[0]


FLOATS = np.array([-2.5, -1.0, -0.5, 0.25, 0.5, 1.5, 2.5, 7.0], np.float32)
POSITIVE = np.abs(FLOATS)
INTS = np.array([-7, -3, -1, 0, 1, 4, 7, 9])
DIVISORS = np.array([2, -2, 3, 5, -5, 3, -3, 2])


def each(function):
    """Python's function on the elements, as Python's numbers."""
    return lambda *arrays: [function(*items) for items in zip(*(a.tolist() for a in arrays), strict=True)]


REFERENCE = {
    "add": ((FLOATS, FLOATS[::-1]), each(operator.add)),
    "sub": ((FLOATS, FLOATS[::-1]), each(operator.sub)),
    "mul": ((FLOATS, FLOATS[::-1]), each(operator.mul)),
    "div": ((FLOATS, FLOATS[::-1]), each(operator.truediv)),
    "floor_div": ((INTS, DIVISORS), each(operator.floordiv)),
    "mod": ((INTS, DIVISORS), each(operator.mod)),
    "pow": ((POSITIVE, FLOATS), each(operator.pow)),
    "minimum": ((FLOATS, FLOATS[::-1]), each(min)),
    "maximum": ((FLOATS, FLOATS[::-1]), each(max)),
    "neg": ((FLOATS,), each(operator.neg)),
    "abs": ((FLOATS,), each(abs)),
    "sign": ((INTS,), each(lambda x: (x > 0) - (x < 0))),
    "exp": ((FLOATS,), each(math.exp)),
    "expm1": ((FLOATS,), each(math.expm1)),
    "log": ((POSITIVE,), each(math.log)),
    "log1p": ((POSITIVE,), each(math.log1p)),
    "sqrt": ((POSITIVE,), each(math.sqrt)),
    "rsqrt": ((POSITIVE,), each(lambda x: 1 / math.sqrt(x))),
    "tanh": ((FLOATS,), each(math.tanh)),
    "erf": ((FLOATS,), scipy.special.erf),
    "sin": ((FLOATS,), each(math.sin)),
    "cos": ((FLOATS,), each(math.cos)),
    "floor": ((FLOATS,), each(math.floor)),
    "ceil": ((FLOATS,), each(math.ceil)),
    "round": ((FLOATS,), each(round)),
    "isfinite": ((np.array([1.0, np.inf, -np.inf, np.nan]),), each(math.isfinite)),
    "eq": ((INTS, abs(INTS)), each(operator.eq)),
    "ne": ((INTS, abs(INTS)), each(operator.ne)),
    "lt": ((INTS, abs(INTS)), each(operator.lt)),
    "le": ((INTS, abs(INTS)), each(operator.le)),
    "gt": ((abs(INTS), INTS), each(operator.gt)),
    "ge": ((abs(INTS), INTS), each(operator.ge)),
    "logical_and": ((INTS > 0, INTS < 5), each(operator.and_)),
    "logical_or": ((INTS > 5, INTS < 0), each(operator.or_)),
    "logical_not": ((INTS > 0,), each(operator.not_)),
    "where": ((INTS > 0, FLOATS, -FLOATS), each(lambda c, a, b: a if c else b)),
}
ELSEWHERE = {"cast", "philox"} | {name for name, op in SCALARS.items() if op.reduction}


def test_every_scalar_op_has_a_reference():
    assert SCALARS.keys() == REFERENCE.keys() | ELSEWHERE


@pytest.mark.parametrize("name", REFERENCE)
def test_op_computes_its_reference(name):
    arguments, reference = REFERENCE[name]
    result = {"bool": dtypes.bool_, "choice": dtypes.float32}.get(SCALARS[name].result, arguments[0].dtype)
    found = compute(name, *arguments, dtype=result)
    assert found.dtype == result
    np.testing.assert_allclose(found, reference(*arguments), rtol=3e-7, atol=0)  # libm: 2 float32 roundings


@pytest.mark.parametrize("name", ["floor_div", "mod"])
@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8"])
def test_integer_division_by_zero_gives_zero(name, dtype):
    found = compute(name, np.array([7, 0, 100], dtype), np.zeros(3, dtype))
    np.testing.assert_array_equal(found, [0, 0, 0])


def test_integers_wrap():
    assert compute("add", np.int32(2**31 - 1), np.int32(1)) == -(2**31)
    assert compute("neg", np.int64(INT64.min)) == INT64.min
    assert compute("mul", np.uint8(200), np.uint8(2)) == 144


def test_smallest_integer_divided_by_minus_one_wraps():
    assert compute("floor_div", np.int64(INT64.min), np.int64(-1)) == INT64.min


@given(st.integers(-20, 20), st.integers(0, 12))
def test_integer_power_is_pythons(base, exponent):
    assert compute("pow", np.int64(base), np.int64(exponent)) == base**exponent


@pytest.mark.parametrize(
    ("base", "exponent", "power"), [(1, -5, 1), (-1, -5, -1), (-1, -4, 1), (2, -1, 0), (0, -1, 0)]
)
def test_integer_power_of_negative_exponent_is_cut_to_an_integer(base, exponent, power):
    assert compute("pow", np.int64(base), np.int64(exponent)) == power


@pytest.mark.parametrize("name", ["minimum", "maximum"])
@pytest.mark.parametrize("dtype", [dtypes.float32, *HALVES])
def test_minimum_and_maximum_propagate_nan(name, dtype):
    a, b = np.array([np.nan, 1.0]).astype(dtype), np.array([1.0, np.nan]).astype(dtype)
    assert np.isnan(compute(name, a, b).astype(float)).all()


def test_round_is_half_to_even():
    np.testing.assert_array_equal(compute("round", np.array([0.5, 1.5, 2.5, -0.5, -1.5])), [0, 2, 2, 0, -2])


@pytest.mark.parametrize("source", [dtypes.float32, dtypes.float64])
@pytest.mark.parametrize("target", ["int8", "uint8", "int16", "int32", "uint32", "int64"])
def test_floats_saturate_to_integers_and_nan_gives_zero(source, target):
    limits = np.iinfo(target)
    found = cast(np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 3.9, -0.9], source), np.dtype(target))
    expected = [0, limits.max, limits.min, limits.max, limits.min, 3, 0]
    assert found.dtype == target
    assert found.tolist() == expected


def test_integer_cast_wraps_and_nan_is_true():
    assert cast(np.array([300, -1]), dtypes.uint8).tolist() == [44, 255]
    assert cast(np.array([np.nan, 0.0, 0.5]), dtypes.bool_).tolist() == [True, False, True]


@pytest.mark.parametrize("dtype", HALVES)
def test_half_types_round_after_every_op(dtype):
    x = np.array([1.0], np.float32).astype(dtype)
    tiny = np.array([np.finfo(np.float16).eps if dtype == dtypes.float16 else 2.0**-7]).astype(dtype) / 2
    body = [call("add", 0, 1, dtype=dtype.name), call("sub", 2, 0, dtype=dtype.name)]
    found = evaluate_body(body, [x, tiny.astype(dtype)], space=(1,), inner=0, sizes={}, results=[3])[0]
    assert found.tolist() == [0.0]  # 1 + eps/2 rounds to 1, which one rounding at the end would not show


@pytest.mark.parametrize("dtype", HALVES)
def test_half_types_are_summed_in_float32(dtype):
    x = np.ones((1, 4096), dtype)
    found = evaluate_body(
        [call("reduce_sum", 0, dtype=dtype.name)], [x], space=(1, 4096), inner=1, sizes={}, results=[1]
    )[0]
    assert found.dtype == dtype
    assert float(found[0, 0]) == 4096.0  # summed in bfloat16 it stops at 256


# Known answers of Philox4x32-10 from the kat_vectors file of Random123: counter, key, words.
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


def signed(low, high):
    return np.array([high << 32 | low], np.uint64).view(np.int64)


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN)
def test_philox_gives_the_known_answers(counter, key, words):
    element = np.arange(4) + 4 * counter[0]
    found = philox(signed(*key), signed(*counter[2:]), np.array([counter[1]]), element)
    assert found.dtype == np.uint32
    assert tuple(found.tolist()) == words


def test_philox_of_a_scalar_is_that_of_an_array():
    alone = philox(np.int64(5), np.int64(1), np.int64(2), np.int64(7))
    among = philox(np.int64(5), np.int64(1), np.int64(2), np.arange(8))
    assert alone == among[7]


# --- bodies -------------------------------------------------------------------------------------------------


def test_body_of_softmax_has_stages_per_row():
    x = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    body = [
        call("reduce_max", 0),
        call("sub", 0, 1),
        call("exp", 2),
        call("reduce_sum", 3),
        call("div", 3, 4),
    ]
    found = evaluate_body(body, [x], space=(3, 5), inner=1, sizes={}, results=[5, 1])
    np.testing.assert_allclose(found[0], scipy.special.softmax(x, axis=1), rtol=1e-6)
    assert found[1].shape == (3, 1)


def test_reduction_counts_an_argument_that_does_not_vary():
    row = np.array([[2.0], [3.0]], np.float32)
    found = evaluate_body([call("reduce_sum", 0)], [row], space=(2, 4), inner=1, sizes={}, results=[1])[0]
    assert found.tolist() == [[8.0], [12.0]]


def test_argmax_takes_the_first_and_counts_nan_as_largest():
    x = np.array([[1, 3, 3], [np.nan, 9, np.nan]], np.float32)
    body = [call("argmax", 0, dtype="int64")]
    assert evaluate_body(body, [x], space=(2, 3), inner=1, sizes={}, results=[1])[0].tolist() == [[1], [0]]


def test_generators_know_the_space_and_the_sizes():
    body = [
        call("index", dtype="int64", value=1),
        call("size", dtype="int64", value="2*batch"),
        call("add", 0, 1, dtype="int64"),
        literal("-inf"),
    ]
    total, infinite = evaluate_body(body, [], space=(2, 3), inner=0, sizes={"batch": 5}, results=[2, 3])
    assert np.broadcast_to(total, (2, 3)).tolist() == [[10, 11, 12]] * 2
    assert infinite == -np.inf


def test_oracle_precision_keeps_what_float32_rounds_away():
    body = [literal(1e-12), call("add", 0, 1), call("sub", 2, 0), call("cast", 3, dtype="bfloat16")]
    found = evaluate_body(
        body, [np.ones(1)], space=(1,), inner=0, sizes={}, results=[4], precision="float64"
    )[0]
    assert found.dtype == np.float64
    assert 0 < found[0] < 2e-12


def test_numbers_that_dtypes_hold():
    assert fits_number("nan", dtypes.float32)
    assert not fits_number("nan", dtypes.int32)
    assert not fits_number("1.0", dtypes.float32)
    assert fits_number(255, dtypes.uint8)
    assert not fits_number(256, dtypes.uint8)
    assert not fits_number(2, dtypes.bool_)
    assert not fits_number(math.inf, dtypes.float64)  # JSON has no infinity: it is spelled


@pytest.mark.parametrize(
    ("name", "arguments", "result", "reason"),
    [
        ("add", ["float32"], "float32", "takes 2 arguments, got 1"),
        ("add", ["bool", "bool"], "bool", "does not accept bool"),
        ("add", ["float32", "float64"], "float32", "arguments differ in dtype: float32, float64"),
        ("add", ["float32", "float32"], "float64", "gives float32, declared float64"),
        ("exp", ["int32"], "int32", "does not accept int32"),
        ("where", ["int32", "int32", "int32"], "int32", "takes a bool condition, got int32"),
        ("lt", ["int32", "int32"], "int32", "gives bool, declared int32"),
        ("philox", ["int32"] * 4, "uint32", "takes int64 arguments, got int32"),
    ],
)
def test_mismatch_says_what_is_wrong(name, arguments, result, reason):
    found = SCALARS[name].mismatch([dtypes.ALL[a] for a in arguments], dtypes.ALL[result])
    assert found is not None
    assert reason in found


def test_bfloat16_is_what_ml_dtypes_calls_so():
    x = np.array([0.1], ml_dtypes.bfloat16)
    np.testing.assert_array_equal(compute("mul", x, x), x * x)


def test_powers_do_not_depend_on_the_shapes():
    bases, exponents = np.random.default_rng(0).uniform(0, 1, 500), np.arange(5.0)
    together = compute("pow", bases[:, None], exponents[None, :])
    alone = [[compute("pow", base, exponent) for exponent in exponents] for base in bases]
    np.testing.assert_array_equal(together, alone)
