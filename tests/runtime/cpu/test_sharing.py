"""What threads share of one instruction, and that neither they nor the names of sizes change a bit."""

from collections import defaultdict
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lazyflow as lf
from documents import Program, call, contiguous, literal, plan
from lazyflow.runtime import dtypes, schema
from lazyflow.runtime.backends.cpu.lowering import blocks, bodies, partial
from lazyflow.runtime.backends.cpu.lowering.program import program_tasks
from lazyflow.runtime.backends.cpu.lowering.tasks import Module
from lazyflow.runtime.backends.cpu.running import table
from lazyflow.runtime.backends.cpu.running.driver import TaskWord
from lazyflow.runtime.backends.cpu.running.table import Table
from lazyflow.runtime.errors import OutOfRangeError

COUNTS = (1, 2, 3, 4, 8)
ORIGINS = (schema.Origin(name="tokens", location="model.py:7"),)
NAMES = ("a", "b", "c", "d")


@pytest.fixture(autouse=True)
def _restored():
    before = lf.get_num_threads()
    yield
    lf.set_num_threads(before)


@contextmanager
def shared_in_bits():
    """Threads share next to nothing too, in many chunks; blocks are short."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table, "_WORTH_A_THREAD", 512)
        for module in (bodies, partial, blocks):
            patch.setattr(module, "BLOCK", 256)
        yield


@pytest.fixture
def small_work():
    with shared_in_bits():
        yield


def normal(*shape, dtype=np.float32):
    return np.random.default_rng([*shape]).normal(size=shape).astype(dtype)


def chunks(program, sizes=None):
    """For each task of a program, into how many pieces its work is cut."""
    filled = Table(program_tasks(program.done(), Module()), defaultdict(int)).fill(sizes or {})
    return [-(-int(row[TaskWord.EXTENT]) // int(row[TaskWord.CHUNK])) for row in filled.rows]


def outcome(program, feeds):
    """The fetches of a run, which are the same bits for any number of threads."""
    session = plan(program, origins=ORIGINS).session("cpu")
    runs = []
    for threads in COUNTS:
        lf.set_num_threads(threads)
        runs.append(session.run("main", dict(feeds)))
    for run in runs[1:]:
        assert {n: a.tobytes() for n, a in run.items()} == {n: a.tobytes() for n, a in runs[0].items()}
    return runs[0]


def check(program, feeds, rtol=0.0, atol=0.0):
    """The same, and what the numpy backend computes."""
    found = outcome(program, feeds)
    expected = plan(program, origins=ORIGINS).session("numpy").run("main", dict(feeds))
    for name, array in expected.items():
        one, other = (x.astype(np.float64) for x in (found[name], array))
        np.testing.assert_allclose(one, other, rtol, atol, err_msg=name)
    return found


def named(shape, names):
    """The shape, with the sizes of chosen axes named."""
    return tuple(NAMES[axis] if axis in names else extent for axis, extent in enumerate(shape))


def program(dimensions):
    return Program(dimensions=tuple(n for n in dimensions if isinstance(n, str)))


# --- maps and rows ----------------------------------------------------------------------------------------


def transposing(shape):
    """X + exp(x transposed): axes that cannot merge."""
    p = program(shape)
    x, y = p.feed("x", shape), p.arena(shape)
    strides = (*x.strides[:-2], 1, shape[-1])
    p.kernel([x, x.access(strides)], [call("abs", 1), call("add", 0, 2)], [(3, y)])
    p.fetch("y", y)
    return p


def broadcasting(shape):
    """X + b, where b lies along the last axis."""
    p = program(shape)
    x, b, y = p.feed("x", shape), p.feed("b", shape[-1:]), p.arena(shape)
    strides = (0,) * (len(shape) - 1) + (1,)
    p.kernel([x, b.access(strides)], [call("add", 0, 1)], [(2, y)])
    p.fetch("y", y)
    return p


def softmax(shape):
    p = program(shape)
    x, mask, y = p.feed("x", shape), p.feed("mask", shape[-2:]), p.arena(shape)
    strides = (*(0,) * (len(shape) - 2), *contiguous(shape[-2:]))
    body = [call("add", 0, 1), call("reduce_max", 2), call("sub", 2, 3), call("exp", 4)]
    body += [call("reduce_sum", 5), call("div", 5, 6)]
    p.kernel([x, mask.access(strides)], body, [(7, y)], inner=1)
    p.fetch("y", y)
    return p


@pytest.mark.parametrize("names", [(), (0,)])
def test_a_map_is_shared_beyond_a_short_first_axis(names):
    p = transposing(named((2, 300, 300), names))
    check(p, {"x": normal(2, 300, 300)})
    assert chunks(p, {"a": 2}) > [2]


@pytest.mark.parametrize("shape", [(1, 200_000), (2, 100_003)])
@pytest.mark.parametrize("names", [(), (0,), (1,), (0, 1)])
def test_a_map_of_few_long_rows_is_shared_along_them(shape, names):
    p = broadcasting(named(shape, names))
    check(p, {"x": normal(*shape), "b": normal(shape[1])})
    assert chunks(p, dict(zip(NAMES, shape, strict=False))) > [2]


def test_rows_are_shared_over_all_outer_axes():
    p = softmax(("a", 4, 65, 65))
    check(p, {"x": normal(1, 4, 65, 65), "mask": normal(65, 65)}, rtol=1e-5, atol=1e-6)
    assert chunks(softmax((1, 4, 512, 512))) > [4]


def test_small_work_stays_with_one_thread():
    assert chunks(transposing((2, 50, 50))) == [1]


def test_a_value_that_its_row_reads_is_written_after_the_whole_row(small_work):
    p = Program("main", dimensions=())
    x, w, y = p.feed("x", (2, 9000)), p.arena((2,)), p.arena((2, 9000))
    p.kernel([], [literal(3.0)], [(0, w)], space=(2,))
    row = w.access((1, 0))
    p.kernel([x, row], [call("mul", 1, 1), call("mul", 0, 1)], [(3, y), (2, row)])
    p.fetch("y", y)
    p.fetch("w", w)
    check(p, {"x": normal(2, 9000)})


# --- reductions -------------------------------------------------------------------------------------------


def reduction(shape, axes, names=(), dtype="float32"):
    """The sum of squares plus a number, and the maximum, over axes of an array."""
    shape = named(shape, names)
    p = program(shape)
    x, scale = p.feed("x", shape, dtype), p.feed("scale", (), dtype)
    kept = [axis for axis in range(len(shape)) if axis not in axes]
    order = [*kept, *axes]
    space = tuple(shape[axis] for axis in order)
    outer = tuple(shape[axis] for axis in kept)
    y, z = p.arena(outer, dtype), p.arena(outer, dtype)
    still = (0,) * len(space)
    body = [call("mul", 0, 0, dtype=dtype), call("reduce_sum", 2, dtype=dtype)]
    body += [call("add", 3, 1, dtype=dtype), call("reduce_max", 0, dtype=dtype)]
    to = [v.access((*v.strides, *(0,) * len(axes))) for v in (y, z)]
    reads = [x.access(tuple(x.strides[axis] for axis in order)), scale.access(still)]
    p.kernel(reads, body, [(4, to[0]), (5, to[1])], space=space, inner=len(axes))
    p.fetch("y", y)
    p.fetch("z", z)
    return p


def reduced(shape, axes, names=(), dtype="float32"):
    feeds = {"x": normal(*shape, dtype=dtype), "scale": np.array(0.5, dtype)}
    return check(reduction(shape, axes, names, dtype), feeds, rtol=2e-2 if dtype == "float16" else 1e-4)


LARGE = [((32_767,), (0,)), ((32_768,), (0,)), ((5, 20_001), (0, 1)), ((3, 50_000), (1,))]
LARGE += [((20_000, 8), (0,)), ((3, 5000, 20), (1,)), ((700, 3, 40), (0, 2)), ((900, 600), (0,))]


@pytest.mark.parametrize(("shape", "axes"), LARGE)
def test_bits_of_a_large_reduction_depend_on_values_of_its_shape(shape, axes):
    expected = reduced(shape, axes)
    for names in ((0,), tuple(range(len(shape)))):
        found = reduced(shape, axes, names)
        assert {n: a.tobytes() for n, a in found.items()} == {n: a.tobytes() for n, a in expected.items()}


@pytest.mark.parametrize("dtype", ["float16", "int32", "float64"])
def test_blocks_of_other_dtypes(dtype, small_work):
    static, sized = (reduced((41, 37), (0, 1), names, dtype) for names in ((), (0, 1)))
    assert static["y"].tobytes() == sized["y"].tobytes()


@given(
    st.lists(st.sampled_from([1, 2, 3, 7, 16, 33, 64, 130]), min_size=1, max_size=4),
    st.data(),
)
@settings(max_examples=25, deadline=None)
def test_reductions_of_any_shape_in_short_blocks(shape, data):
    axes = data.draw(st.sets(st.integers(0, len(shape) - 1), min_size=1).map(sorted), "axes")
    with shared_in_bits():
        long = [axis for axis, extent in enumerate(shape) if extent > 1]
        static = reduced(tuple(shape), axes)
        sized = reduced(tuple(shape), axes, tuple(long))
    for name, array in static.items():
        assert array.tobytes() == sized[name].tobytes(), name


SHARED = [((1_000_000, 8), (0,), ()), ((100_000, 64), (0,), (0,)), ((2, 100_000, 16), (1,), (0, 1))]
SHARED += [((4_000_000,), (0,), ()), ((4_000_000,), (0,), (0,)), ((100, 40_000), (0, 1), (0,))]


@pytest.mark.parametrize(("shape", "axes", "names"), SHARED)
def test_large_reductions_are_shared(shape, axes, names):
    p = reduction(shape, axes, names)
    first, *_, last = chunks(p, dict(zip(NAMES, shape, strict=False)))
    assert first >= 8
    assert last == 1


@pytest.mark.parametrize("names", [(), (0,)])
def test_sum_of_many_equal_numbers_is_off_by_no_more_than_its_blocks_allow(names):
    p = Program(dimensions=names and NAMES[:1])
    x, y = p.feed("x", named((4_000_000,), names)), p.arena(())
    p.kernel([x], [call("reduce_sum", 0)], [(1, y.access((0,)))], inner=1)
    p.fetch("y", y)
    value = np.float32(0.7310585)  # whose multiples are rounded the same way again and again
    found = plan(p).session("cpu").run("main", x=np.full(4_000_000, value))["y"]
    roundings = bodies.BLOCK / 16 + 4_000_000 / bodies.BLOCK / 16 + 8
    assert abs(found / (np.float64(value) * 4_000_000) - 1) < roundings * 2.0**-24


@pytest.mark.parametrize("names", [(), (0,), (0, 1)])
def test_small_reduction_of_named_sizes_is_one_block(names):
    assert chunks(reduction((32, 10), (0,), names), {"a": 32, "b": 10}) == [1] * (2 if names else 1)


# --- scatter_add ------------------------------------------------------------------------------------------


def embedding_gradient(rows, width, dtype="float32", index="int64", dimensions=("a", "b")):
    """Rows of a source, one per index of two axes, added into a table."""
    p = Program(dimensions=dimensions)
    source, at = p.feed("source", ("a", "b", width), dtype), p.feed("at", ("a", "b"), index)
    y = p.arena((rows, width), dtype)
    item = schema.ScatterAdd(
        space=("a", "b", width),
        axis_size=rows,
        axis_stride=width,
        table=y.access((0, 0, 1)),
        index=at.access((*at.strides, 0)),
        source=source.access(),
        origin=(0,),
    )
    p.add(item)
    p.fetch("y", y)
    return p


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int32"])
@pytest.mark.parametrize("width", [8, 16, 64, 100])
def test_rows_are_added_in_order_by_any_number_of_threads(width, dtype, small_work):
    p = embedding_gradient(37, width, dtype, "int32" if width == 8 else "int64")
    at = np.random.default_rng(width).integers(0, 30, (7, 41)).astype("int32" if width == 8 else "int64")
    source = (10 * normal(7, 41, width)).astype(dtypes.ALL[dtype])
    found = check(p, {"source": source, "at": at})["y"]
    assert not found[30:].any()
    sort, total = chunks(p, {"a": 7, "b": 41})
    assert sort == 1
    assert total > 4


def test_rows_of_a_named_width_are_added():
    p = embedding_gradient(5, "c", dimensions=("a", "b", "c"))
    check(p, {"source": normal(3, 4, 19), "at": np.arange(12).reshape(3, 4) % 5})


@pytest.mark.parametrize("bad", [-1, 37])
def test_the_first_index_out_of_range_is_told_whoever_finds_it(bad, small_work):
    at = np.zeros((7, 41), np.int64)
    at[3, 5], at[6, 1] = bad, 99
    session = plan(embedding_gradient(37, 64), origins=ORIGINS).session("cpu")
    for threads in COUNTS:
        lf.set_num_threads(threads)
        with pytest.raises(OutOfRangeError, match=f"index {bad} is outside"):
            session.run("main", source=normal(7, 41, 64), at=at)


def test_threads_share_rows_that_each_add_to_their_own(small_work):
    p = Program(dimensions=("a",))
    source, at = p.feed("source", ("a", 9)), p.feed("at", ("a", 9), "int64")
    y = p.arena(("a", 5))
    item = schema.ScatterAdd(
        space=("a", 9),
        axis_size=5,
        axis_stride=1,
        table=y.access((5, 0)),
        index=at.access(),
        source=source.access(),
        origin=(0,),
    )
    p.add(item)
    p.fetch("y", y)
    at = np.random.default_rng(0).integers(0, 5, (300, 9))
    check(p, {"source": normal(300, 9), "at": at})
    assert chunks(p, {"a": 300})[-1] > 4
