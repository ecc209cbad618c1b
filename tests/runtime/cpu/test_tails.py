"""Kernels that take on tiles of the product before them: the same bits as behind the whole product."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lazyflow as lf
from documents import Program, call, literal, plan
from lazyflow import nn
from lazyflow.runtime import schema
from lazyflow.runtime.backends.cpu.code import tiling
from lazyflow.runtime.backends.cpu.lowering import program
from lazyflow.runtime.backends.cpu.running import table
from lazyflow.runtime.backends.cpu.running.driver import TaskWord

THREADS = (1, 2, 3, 4, 8)
F = nn.functional


@pytest.fixture(autouse=True)
def threads_are_as_before():
    before = lf.get_num_threads()
    yield
    lf.set_num_threads(before)


def session(made, joined, rows, parts=1):
    """A session whose kernels take on tiles of results of any size, or of none.

    Tiles have so many rows; parts of them lie side by side.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiling, "_UNCACHED", 0)
        patch.setattr(table, "_SPREAD", 1)
        if not joined:
            patch.setattr(program, "may_follow", lambda *_: False)
        patch.setattr(tiling, "tiles", lambda batch, m, n, k: (min(m, rows), -(-n // parts)))
        found = made.session("cpu")
        for each in made.document.programs:
            found.backend._bindings[each.name] = found.backend._bind(each.name, {})
        return found


def taken_on(found):
    """How many tasks take on tiles."""
    return sum(int((each._filled.rows[:, TaskWord.EXTENT] == 0).sum()) for each in bindings(found))


def bindings(found):
    return list({id(each): each for each in found.backend._bindings.values()}.values())


def whole_numbers(shape, dtype, seed):
    """Small ones: sums and products of them are exact in any order."""
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(dtype)


BODIES = {
    "add": ([call("add", 0, 1)], [2], 0),
    "relu": ([call("add", 0, 1), literal(0.0), call("maximum", 2, 3)], [2, 4], 0),
    "centred": ([call("add", 0, 1), call("reduce_max", 2), call("sub", 2, 3)], [4], 1),
}


@st.composite
def products(draw):
    """A product, a kernel behind it, and whose memory it writes: its own, the result's or an operand's."""
    p = Program(dimensions=())
    dtype = draw(st.sampled_from(["float32", "float64"]))
    batch = draw(st.sampled_from([(), (3,), (2, 2)]))
    m, n = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    k = draw(st.sampled_from([1, 5, m, n]))
    shapes = {"a": (*batch, m, k), "b": (*batch, k, n)}
    given_ = {name: p.feed(name, shape, dtype) for name, shape in shapes.items()}
    other = draw(st.sampled_from([(*batch, m, n), (n,), (m, 1), ()]))
    residual = p.feed("other", other, dtype)
    # the operands are copied into the arena, where others may take their memory once they are not needed
    copies = {name: p.arena(value.shape, dtype) for name, value in given_.items()}
    for name, value in given_.items():
        p.kernel([value], [], [(0, copies[name])])
    y = p.arena((*batch, m, n), dtype)
    p.add(
        schema.MatMul(
            batch=batch, m=m, n=n, k=k, a=copies["a"].access(), b=copies["b"].access(), out=y.access()
        )
    )
    body, results, inner = BODIES[draw(st.sampled_from(sorted(BODIES)))]
    body = [schema.Call(op=c.op, args=c.args, dtype=dtype, value=c.value) for c in body]
    places = {"own": None, "result": y}
    places |= {name: copy for name, copy in copies.items() if math.prod(copy.shape) >= math.prod(y.shape)}
    place = draw(st.sampled_from(sorted(places)))
    slots = [None if places[place] is None else p.buffers[places[place].buffer].slot, None]
    writes = [
        (value, p.arena(y.shape, dtype, slot=slot)) for value, slot in zip(results, slots, strict=False)
    ]
    strides = [0] * (len(y.shape) - len(other)) + [
        0 if extent == 1 else step for extent, step in zip(other, residual.strides, strict=True)
    ]
    p.kernel([y, residual.access(tuple(strides))], body, writes, space=y.shape, inner=inner)
    for _, value in writes:
        p.fetch(f"y{value.buffer}", value)
    arrays = {
        name: whole_numbers(shape, dtype, seed)
        for seed, (name, shape) in enumerate({**shapes, "other": other}.items())
    }
    return plan(p), arrays, place, min(m, n) > 1


@given(products(), st.integers(1, 9), st.sampled_from([1, 1, 2]))
@settings(max_examples=60, deadline=None)
def test_tiles_give_the_bits_of_the_whole_product(case, rows, parts):
    made, arrays, place, matrices = case
    expected = made.session("numpy").run("main", arrays)
    apart, joined = (session(made, joined, rows, parts) for joined in (False, True))
    assert taken_on(apart) == 0
    if matrices:
        assert taken_on(joined) == (parts == 1 and place not in ("a", "b"))
    for threads in THREADS:
        lf.set_num_threads(threads)
        for each in (apart, joined):
            found = each.run("main", arrays)
            for name, value in expected.items():
                np.testing.assert_array_equal(found[name], value)


def test_a_kernel_that_needs_other_rows_waits_for_all_of_them():
    p = Program(dimensions=())
    a, b, y = p.feed("a", (24, 5)), p.feed("b", (5, 24)), p.arena((24, 24))
    p.add(schema.MatMul(batch=(), m=24, n=24, k=5, a=a.access(), b=b.access(), out=y.access()))
    z = p.arena((24, 24))
    p.kernel([y, y.access((1, 24))], [call("add", 0, 1)], [(2, z)])
    p.fetch("z", z)
    found = session(plan(p), joined=True, rows=5)
    arrays = {"a": whole_numbers((24, 5), "float32", 0), "b": whole_numbers((5, 24), "float32", 1)}
    product = arrays["a"] @ arrays["b"]
    assert taken_on(found) == 0
    np.testing.assert_array_equal(found.run("main", arrays)["z"], product + product.T)


def test_a_row_that_is_all_of_the_result_is_computed_once():
    p = Program(dimensions=())
    a, b, y = p.feed("a", (1, 5)), p.feed("b", (5, 24)), p.arena((1, 24))
    p.add(schema.MatMul(batch=(), m=1, n=24, k=5, a=a.access(), b=b.access(), out=y.access()))
    body = [literal(2.0), call("mul", 0, 1), call("reduce_max", 2), call("sub", 2, 3)]
    z = p.arena((1, 24), slot=p.buffers[y.buffer].slot)
    p.kernel([y], body, [(4, z)], inner=1)
    p.fetch("z", z)
    arrays = {"a": whole_numbers((1, 5), "float32", 0), "b": whole_numbers((5, 24), "float32", 1)}
    doubled = 2 * (arrays["a"] @ arrays["b"])
    found = session(plan(p), joined=True, rows=1).run("main", arrays)["z"]
    np.testing.assert_array_equal(found, doubled - doubled.max())


def layers(dtype="float32"):
    """What a network has behind products: a bias and gelu, a shortcut, a softmax of each row, dropout."""
    rng = np.random.default_rng(0)
    with lf.Graph() as graph:
        x = lf.placeholder("x", (2, 60, 48), dtype)
        w = lf.Variable(rng.normal(size=(2, 48, 64)).astype(dtype), name="w", dtype=dtype)
        bias = lf.Variable(rng.normal(size=64).astype(dtype), name="bias", dtype=dtype)
        back = lf.Variable(rng.normal(size=(2, 64, 48)).astype(dtype), name="back", dtype=dtype)
        hidden = F.gelu(x @ w + bias)
        result = F.softmax(hidden @ back, -1)
        dropped = F.dropout(result @ w, 0.5)
        graph.program("main", fetches={"hidden": hidden, "result": result, "dropped": dropped})
    return lf.compile(graph)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("guarded", [False, True])
def test_networks_have_the_same_bits(dtype, guarded, monkeypatch):
    if guarded:
        monkeypatch.setenv("LAZYFLOW_GUARD_PAGES", "1")
    made, x = layers(dtype), np.random.default_rng(1).normal(size=(2, 60, 48)).astype(dtype)
    found = set()
    for joined in (True, False):
        each = session(made, joined, rows=7)
        assert taken_on(each) == (3 if joined else 0)
        for threads in THREADS:
            lf.set_num_threads(threads)
            each.load_state_dict(made.session("numpy").state_dict())
            fetches = each.run("main", x=x)
            found.add(tuple(value.tobytes() for value in fetches.values()))
    assert len(found) == 1


def tall(rows):
    with lf.Graph() as graph:
        x = lf.placeholder("x", ("rows", 64))
        graph.program("main", fetches={"y": F.relu(x @ lf.Variable(0.0, (64, 64), name="w"))})
    filled = lf.compile(graph).session("cpu").backend._tables["main"].fill({"rows": rows})
    return filled.rows[:, TaskWord.EXTENT]


@pytest.mark.parametrize(("rows", "joined"), [(1, False), (1000, False), (1 << 17, True)])
def test_only_large_results_are_taken_on(rows, joined):
    product, kernel = tall(rows)
    assert product >= 1
    assert (kernel == 0) is np.bool_(joined)
