"""Kernels written by hand, on the cpu backend against the numpy backend."""

import itertools

import numpy as np
import pytest

from documents import Program, call, contiguous, literal, plan, variable
from lazyflow.runtime import dtypes, schema
from lazyflow.runtime.backends.cpu.code.lanes import READINGS
from lazyflow.runtime.backends.cpu.code.nest import Read, make_nest
from lazyflow.runtime.backends.cpu.lowering.program import program_tasks
from lazyflow.runtime.backends.cpu.lowering.tasks import Module
from lazyflow.runtime.scalars import SCALARS

EXACT = {"rtol": 0, "atol": 0}
SUMS = {"rtol": 2e-5, "atol": 1e-5}  # another order of the terms


def normal(*shape, dtype=np.float32, seed=0):
    return (3 * np.random.default_rng([seed, *shape]).normal(size=shape)).astype(dtype)


def compare(program, feeds=(), state=(), variables=(), rtol=0.0, atol=0.0):
    """The fetches of one run on cpu, which are those of numpy, as is the state after it."""
    made = plan(program, variables=variables)
    outcomes = {}
    for backend in ("numpy", "cpu"):
        session = made.session(backend)
        session.load_state_dict(dict(state), strict=False)
        with np.errstate(all="ignore"):
            outcomes[backend] = session.run(program.name, dict(feeds)), session.state_dict()
    for expected, found in zip(outcomes["numpy"], outcomes["cpu"], strict=True):
        assert found.keys() == expected.keys()
        for name in expected:
            assert found[name].dtype == expected[name].dtype
            one, other = (x[name].astype(np.float64) for x in (found, expected))
            np.testing.assert_allclose(one, other, rtol, atol, err_msg=name)
    return outcomes["cpu"][0]


def test_every_scalar_op_has_a_reading():
    elsewhere = {"where", "cast"} | {name for name, row in SCALARS.items() if row.reduction}
    assert set(READINGS) | elsewhere == set(SCALARS)
    assert not set(READINGS) & elsewhere


KINDS = {"b": ["bool"], "i": ["int32", "int64", "uint8"], "f": ["float32", "float64", "float16", "bfloat16"]}
ROWS = [(row, dtype) for row in SCALARS.values() for kind in row.accepts for dtype in KINDS[kind]]
ROWS = [(row, dtype) for row, dtype in ROWS if row.name != "philox" or dtype == "int64"]
ROWS = [(row, dtype) for row, dtype in ROWS if row.name != "cast"]  # test_cast_between_all_dtypes
INTEGERS = [-7, -2, -1, 0, 1, 2, 3, 5, 100]
FLOATS = [-np.inf, -7.5, -2.0, -1.0, -0.5, -0.0, 0.0, 0.5, 1.0, 2.5, 3.0, 65.0, np.inf, np.nan]


def operands(row, dtype):
    values = [False, True] if dtype == "bool" else FLOATS if dtype in KINDS["f"] else INTEGERS
    if dtype == "uint8":
        values = [abs(v) for v in values]
    grid = np.array(list(itertools.product(values, repeat=min(2, row.arity)))).T
    columns = [*grid, *grid[: max(0, row.arity - 2)]]
    if row.arity > 2 and row.name != "where":
        columns = [np.resize(c, 40) for c in columns]
    return [column.astype(dtypes.ALL[dtype]) for column in columns[: row.arity]]


@pytest.mark.parametrize(("row", "dtype"), ROWS, ids=[f"{row.name}-{dtype}" for row, dtype in ROWS])
def test_scalar_op_computes_what_numpy_does(row, dtype):
    arrays = operands(row, dtype)
    if row.result == "choice":
        arrays[0] = np.arange(arrays[0].size) % 2 == 0
    result = {"bool": "bool", "int64": "int64", "words": "uint32"}.get(row.result, dtype)
    p = Program(dimensions=())
    feeds = [p.feed(f"x{i}", array.shape, array.dtype.name) for i, array in enumerate(arrays)]
    shape = () if row.reduction else feeds[0].shape
    y = p.arena(shape, result)
    target = y.access((0,)) if row.reduction else y
    body = [call(row.name, *range(row.arity), dtype=result)]
    p.kernel(feeds, body, [(row.arity, target)], inner=int(row.reduction))
    p.fetch("y", y)
    # float32 functions here are within 0.52 units of the last place, NumPy's within 4
    tolerance = {"float16": 1e-3, "bfloat16": 8e-3, "float32": 5e-7, "float64": 1e-15}.get(dtype, 0)
    compare(p, {f"x{i}": a for i, a in enumerate(arrays)}, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("target", dtypes.ALL)
@pytest.mark.parametrize("source", dtypes.ALL)
def test_cast_between_all_dtypes(source, target):
    numbers = np.array([*FLOATS, 1e10, -1e10, 3e38, 127.5, 300.0])
    if source not in KINDS["f"]:
        numbers = numbers[np.isfinite(numbers) & (abs(numbers) < 100)]
    with np.errstate(all="ignore"):
        x = numbers.astype(dtypes.ALL[source])
    p = Program(dimensions=())
    fed, y = p.feed("x", x.shape, source), p.arena(x.shape, target)
    p.kernel([fed], [call("cast", 0, dtype=target)], [(1, y)])
    p.fetch("y", y)
    compare(p, {"x": x})


STRIDES = [((4, 6), (6, 1), 0), ((6, 4), (1, 6), 0), ((4, 6), (-6, 1), 18), ((4, 6), (6, -1), 5)]
STRIDES += [((4, 6), (0, 1), 0), ((4, 6), (6, 0), 0), ((2, 3), (12, 2), 1), ((24, 1), (1, 0), 0)]


@pytest.mark.parametrize(("space", "strides", "offset"), STRIDES)
def test_map_reads_by_any_strides(space, strides, offset):
    p = Program(dimensions=())
    x, y = p.feed("x", (4, 6)), p.arena(space)
    p.kernel([x.access(strides, offset)], [call("neg", 0)], [(1, y)], space=space)
    p.fetch("y", y)
    compare(p, {"x": normal(4, 6)}, **EXACT)


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
def test_map_writes_by_permuted_strides(axes):
    p = Program(dimensions=())
    x, y = p.feed("x", (3, 17, 5)), p.arena(tuple((3, 17, 5)[a] for a in axes))
    strides = [0] * 3
    for place, axis in enumerate(axes):
        strides[axis] = y.strides[place]
    p.kernel([x], [call("mul", 0, 0)], [(1, y.access(tuple(strides)))])
    p.fetch("y", y)
    compare(p, {"x": normal(3, 17, 5)}, **EXACT)


@pytest.mark.parametrize("width", [1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 64, 100])
@pytest.mark.parametrize("op", ["reduce_sum", "reduce_max", "reduce_min", "argmax"])
def test_reduction_over_rows_of_any_length(op, width):
    p = Program()
    dtype = "int64" if op == "argmax" else "float32"
    x, y = p.feed("x", ("batch", width)), p.arena(("batch",), dtype)
    p.kernel([x], [call(op, 0, dtype=dtype)], [(1, y.access((1, 0)))], inner=1)
    p.fetch("y", y)
    compare(p, {"x": normal(5, width)}, **SUMS)


@pytest.mark.parametrize("columns", [1, 5, 16, 19, 70])
@pytest.mark.parametrize("op", ["reduce_sum", "reduce_max", "argmax"])
def test_reduction_over_columns(op, columns):
    p = Program()
    dtype = "int64" if op == "argmax" else "float32"
    x, y = p.feed("x", ("batch", columns)), p.arena((columns,), dtype)
    space = (columns, "batch")
    p.kernel(
        [x.access((1, columns))], [call(op, 0, dtype=dtype)], [(1, y.access((1, 0)))], space=space, inner=1
    )
    p.fetch("y", y)
    compare(p, {"x": normal(9, columns)}, **SUMS)


def test_columns_are_normalised_in_several_stages():
    p = Program()
    x, y = p.feed("x", ("batch", 37)), p.arena(("batch", 37))
    body = [
        call("reduce_max", 0),
        call("sub", 0, 1),
        call("exp", 2),
        call("reduce_sum", 3),
        call("div", 3, 4),
    ]
    space = (37, "batch")
    p.kernel([x.access((1, 37))], body, [(5, y.access((1, 37)))], space=space, inner=1)
    p.fetch("y", y)
    found = compare(p, {"x": normal(11, 37)}, **SUMS)["y"]
    np.testing.assert_allclose(found.sum(0), 1, rtol=1e-5)


@pytest.mark.parametrize("shape", [(3, 5), (2, 40), ("batch", 33), (4, "batch")])
def test_softmax_in_three_stages(shape):
    p = Program()
    x, y, z = p.feed("x", shape), p.arena(shape), p.arena(shape[:1])
    body = [
        call("reduce_max", 0),
        call("sub", 0, 1),
        call("exp", 2),
        call("reduce_sum", 3),
        call("div", 3, 4),
    ]
    p.kernel([x], body, [(5, y), (4, z.access((1, 0)))], inner=1)
    p.fetch("y", y)
    p.fetch("z", z)
    if "batch" not in shape:
        p.dimensions = ()
    compare(p, {"x": normal(*(6 if n == "batch" else n for n in shape))}, **SUMS)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("op", ["reduce_max", "reduce_min"])
@pytest.mark.parametrize("columns", [False, True])
def test_extremes_mind_nan_wherever_it_stands(columns, op, dtype):
    p = Program()
    x, y = p.feed("x", ("batch", 37), dtype), p.arena((37 if columns else "batch",), dtype)
    read = x.access((1, 37)) if columns else x
    space = (37, "batch") if columns else ("batch", 37)
    p.kernel([read], [call(op, 0, dtype=dtype)], [(1, y.access((1, 0)))], space=space, inner=1)
    p.fetch("y", y)
    values = normal(37, 37, dtype=dtype)
    values[np.arange(36), np.arange(36)] = [np.nan, np.inf, -np.inf, -np.nan] * 9
    found = compare(p, {"x": values}, **EXACT)["y"]
    np.testing.assert_array_equal(np.isnan(found), np.isnan(values).any(0 if columns else 1))


def test_reduction_over_two_axes_that_do_not_merge():
    p = Program()
    x, y = p.feed("x", (4, "batch", 6)), p.arena(("batch",))
    strides = (6, "6*batch", 1)
    space = ("batch", 4, 6)
    p.kernel([x.access(strides)], [call("reduce_sum", 0)], [(1, y.access((1, 0, 0)))], space=space, inner=2)
    p.fetch("y", y)
    compare(p, {"x": normal(4, 7, 6)}, **SUMS)


def test_fixed_values_are_written_along_the_axis_that_moves():
    p = Program()
    x, y = p.feed("x", ("batch", 20)), p.arena(("batch", 20))
    p.kernel([x], [call("reduce_sum", 0)], [(1, y)], inner=1)
    p.fetch("y", y)
    compare(p, {"x": normal(3, 20)}, **SUMS)


def test_kernel_in_place_reads_before_it_writes():
    p = Program("train", dimensions=())
    w = p.variable("w", (50,))
    p.kernel([w, w], [call("mul", 0, 1), call("add", 2, 0)], [(3, w)])
    compare(p, state={"w": normal(50)}, variables=[variable("w", (50,))], **EXACT)


def test_row_stages_in_place_write_after_every_read():
    p = Program("train", dimensions=())
    w = p.variable("w", (4, 30))
    body = [call("reduce_sum", 0), call("div", 0, 1)]
    p.kernel([w], body, [(2, w)], inner=1)
    state = {"w": abs(normal(4, 30)) + 1}
    compare(p, state=state, variables=[variable("w", (4, 30))], **SUMS)


@pytest.mark.parametrize("buffers", [1, 2])
def test_first_stage_in_place_writes_after_the_last_has_read(buffers):
    p = Program("train", dimensions=())
    w, y = p.variable("w", (4, 30)), p.arena((4, 30))
    target = w if buffers == 1 else p.variable("w", (4, 30))
    body = [call("neg", 0), call("reduce_sum", 0), call("div", 0, 2)]
    p.kernel([w], body, [(1, target), (3, y)], inner=1)
    p.fetch("y", y)
    state = {"w": abs(normal(4, 30)) + 1}
    compare(p, state=state, variables=[variable("w", (4, 30))], **SUMS)


def test_swap_of_two_variables_sees_both_old_values():
    p = Program("train", dimensions=())
    a, b = p.variable("a", (33,)), p.variable("b", (33,))
    p.kernel([a, b], [], [(0, b), (1, a)])
    state = {"a": normal(33), "b": normal(33, seed=1)}
    compare(p, state=state, variables=[variable("a", (33,)), variable("b", (33,))], **EXACT)


def sum_of(x, shape):
    """A sum over the last axis, with the shape's text sizes named."""
    p = Program(dimensions=tuple(n for n in shape if isinstance(n, str)))
    fed, y = p.feed("x", shape), p.arena(shape[:-1])
    strides = (*contiguous(shape[:-1]), 0)
    p.kernel([fed], [call("reduce_sum", 0)], [(1, y.access(strides))], inner=1)
    p.fetch("y", y)
    return plan(p).session("cpu").run("main", x=x)["y"]


@pytest.mark.parametrize("width", [3, 16, 29, 1000])
def test_order_of_a_sum_is_the_same_for_named_and_static_sizes(width):
    x = normal(7, width)
    static = sum_of(x, (7, width))
    for shape in (("batch", width), (7, "n"), ("batch", "n")):
        assert sum_of(x, shape).tobytes() == static.tobytes()


@pytest.mark.parametrize("size", [32768, 50_000, 16384 * 5 + 2])
def test_large_sum_is_made_of_blocks(size):
    p = Program(dimensions=())
    x, scale, y, z = p.feed("x", (2, size // 2)), p.feed("scale", ()), p.arena(()), p.arena(())
    body = [call("mul", 0, 0), call("reduce_sum", 2), call("reduce_max", 0)]
    body += [call("sqrt", 3), call("mul", 5, 1)]
    reads = [x, scale.access((0, 0))]
    p.kernel(reads, body, [(6, y.access((0, 0))), (4, z.access((0, 0)))], inner=2)
    p.fetch("y", y)
    p.fetch("z", z)
    compare(p, {"x": normal(2, size // 2), "scale": np.float32(0.5)}, rtol=1e-5)
    functions = {task.function for task in program_tasks(p.done(), Module()).tasks}
    assert len(functions) == (3 if size % 16384 else 2)


def test_results_of_rows_do_not_turn_the_lanes_away_from_what_is_read():
    rows, columns = Read(dtypes.float32, [1000, 1]), Read(dtypes.float32, [1, 0])
    body = (call("mul", 0, 0), call("reduce_sum", 0), call("reduce_sum", 1))
    nest = make_nest((4000, 1000), 1, [rows], [columns, columns], body, [2, 3])
    assert not nest.columns


def test_index_and_size_on_lanes():
    p = Program()
    x, y = p.feed("x", ("batch", 21)), p.arena(("batch", 21), "int64")
    body = [call("index", dtype="int64", value=0), call("index", dtype="int64", value=1)]
    body += [call("size", dtype="int64", value="batch"), call("mul", 1, 3, dtype="int64")]
    p.kernel([x], [*body, call("add", 4, 2, dtype="int64")], [(5, y)])
    p.fetch("y", y)
    compare(p, {"x": normal(4, 21)}, **EXACT)


def test_draws_that_differ_in_their_stream_share_a_function():
    programs = []
    for stream in (5, 6):
        p = Program(f"draw{stream}", dimensions=())
        y = p.arena((40,), "uint32")
        body = [literal(n, "int64") for n in (1, 2, stream)] + [call("index", dtype="int64", value=0)]
        p.kernel([], [*body, call("philox", 0, 1, 2, 3, dtype="uint32")], [(4, y)], space=(40,))
        p.fetch("y", y)
        compare(p, **EXACT)
        programs.append(p)
    session = plan(*programs).session("cpu")
    first, second = (session.run(p.name)["y"] for p in programs)
    assert (first != second).any()


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("sizes", [(1, 1, 1), (3, 5, 4), (1, 9, 3), (9, 1, 3), (2, 2, 1), (70, 130, 30)])
@pytest.mark.parametrize("flags", [(False, False), (True, False), (False, True), (True, True)])
def test_product_of_transposes(sizes, flags, dtype):
    m, n, k = sizes
    shapes = [(k, m) if flags[0] else (m, k), (n, k) if flags[1] else (k, n)]
    p = Program(dimensions=())
    a, b = (p.feed(name, shape, dtype) for name, shape in zip("ab", shapes, strict=True))
    y = p.arena((m, n), dtype)
    seen = [x.access(x.strides[::-1]) if f else x.access() for x, f in zip((a, b), flags, strict=True)]
    p.add(schema.MatMul(batch=(), m=m, n=n, k=k, a=seen[0], b=seen[1], out=y.access()))
    p.fetch("y", y)
    tolerance = 2e-3 if dtype == "float16" else 1e-5
    feeds = {name: normal(*shape, dtype=dtype) for name, shape in zip("ab", shapes, strict=True)}
    compare(p, feeds, rtol=tolerance, atol=30 * tolerance)


def test_zeros_of_both_signs_are_two_literals():
    p = Program(dimensions=())
    for name, zero in (("a", 0.0), ("b", -0.0)):
        x, y = p.feed(name, (40,)), p.arena((40,))
        p.kernel([x], [literal(zero), call("mul", 0, 1)], [(2, y)])
        p.fetch(f"{name} times zero", y)
    ones = np.ones(40, np.float32)
    found = compare(p, {"a": ones, "b": ones})
    assert [bool(np.signbit(y).all()) for y in found.values()] == [False, True]


def test_product_of_rows_that_overlap():
    p = Program(dimensions=())
    a, b, y = p.feed("a", (40,)), p.feed("b", (5, 20)), p.arena((30, 20))
    item = schema.MatMul(batch=(), m=30, n=20, k=5, a=a.access((1, 2)), b=b.access(), out=y.access())
    p.add(item)
    p.fetch("y", y)
    compare(p, {"a": normal(40), "b": normal(5, 20)}, **SUMS)


def test_product_does_not_spread_nan_from_memory_that_it_does_not_read():
    p = Program(dimensions=())
    a, b, y = p.feed("a", (9, 20)), p.feed("b", (20, 50)), p.arena((7, 40))
    item = schema.MatMul(batch=(), m=7, n=40, k=17, a=a.access((20, 1)), b=b.access((50, 1)), out=y.access())
    p.add(item)
    p.fetch("y", y)
    left, right = normal(9, 20), normal(20, 50)
    left[7:], left[:, 17:], right[17:], right[:, 40:] = (np.nan,) * 4
    found = compare(p, {"a": left, "b": right}, rtol=1e-4, atol=1e-3)["y"]
    assert np.isfinite(found).all()


def test_products_of_a_batch_that_broadcasts():
    p = Program()
    a, b, y = p.feed("a", ("batch", 3, 4, 5)), p.feed("b", (3, 5, 6)), p.arena(("batch", 3, 4, 6))
    item = schema.MatMul(
        batch=("batch", 3), m=4, n=6, k=5, a=a.access(), b=b.access((0, 30, 6, 1)), out=y.access()
    )
    p.add(item)
    p.fetch("y", y)
    compare(p, {"a": normal(7, 3, 4, 5), "b": normal(3, 5, 6)}, **SUMS)
