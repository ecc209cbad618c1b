"""Reductions that threads share: of large segments, of whole arrays, and of many arrays in one go."""

import math

import numpy as np
import pytest
from msgspec.structs import replace

import lazyflow as lf
from documents import Program, call, literal, plan, variable
from lazyflow import optim
from lazyflow.runtime import schema
from lazyflow.runtime.backends.cpu.lowering.bodies import Body
from lazyflow.runtime.backends.cpu.lowering.program import program_tasks
from lazyflow.runtime.backends.cpu.lowering.tasks import Module

BLOCK = 16384
COUNTS = (1, 2, 3, 4, 8)
SHAPES = [(3 * BLOCK + 5,), (40, 1000), (7,), (2 * BLOCK - 1,), (1100, 33), (2 * BLOCK,)]
OPTIMIZERS = {
    "lamb": lambda p: optim.LAMB(p, lr=0.01, weight_decay=0.1),
    "lars": lambda p: optim.LARS(p, lr=0.1, weight_decay=0.1),
    "adafactor": lambda p: optim.Adafactor(p, lr=0.01, weight_decay=0.1),
    "muon": lambda p: optim.Muon(p, lr=0.01, ns_steps=1),
}


@pytest.fixture(autouse=True)
def _restored():
    before = lf.get_num_threads()
    yield
    lf.set_num_threads(before)


def normal(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)


def stepping(make, **recipe):
    """A plan whose one program steps an optimizer, and what it is fed."""
    with lf.Graph("update") as graph:
        parameters = [lf.Parameter(normal(*shape), name=f"w{i}") for i, shape in enumerate(SHAPES)]
        feeds = [lf.placeholder(f"g{i}", shape) for i, shape in enumerate(SHAPES)]
        optimizer = make(parameters)
        with graph.program("train"):
            optimizer.step(dict(zip(parameters, feeds, strict=True)), **recipe)
    given = {f"g{i}": normal(*shape, seed=1) for i, shape in enumerate(SHAPES)}
    return lf.compile(graph), given


def stepped(made, given, backend="cpu", threads=1):
    lf.set_num_threads(threads)
    session = made.session(backend)
    for _ in range(2):
        session.run("train", given)
    return session.state_dict()


def check(made, given):
    """The bits are the same for any number of threads, and near those of numpy."""
    found = stepped(made, given)
    for threads in COUNTS[1:]:
        again = stepped(made, given, threads=threads)
        assert {n: v.tobytes() for n, v in again.items()} == {n: v.tobytes() for n, v in found.items()}
    expected = stepped(made, given, "numpy")
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=2e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_threads_share_updates_that_reduce(make):
    check(*stepping(make))


@pytest.mark.parametrize("recipe", [{"clip_norm": 1.0}, {"clip_norm": 1.0, "skip_nonfinite": True}], ids=str)
def test_threads_share_the_norm_of_all_gradients(recipe):
    check(*stepping(lambda p: optim.AdamW(p, lr=0.01), **recipe))


def test_a_large_segment_is_several_items():
    made, _ = stepping(OPTIMIZERS["lamb"])
    (program,) = [program for program in made.document.programs if program.name == "train"]
    sizes = [math.prod(shape) for shape in SHAPES]
    blocks = sum(-(-size // BLOCK) for size in sizes if size >= 2 * BLOCK)
    assert blocks in [task.extent for task in program_tasks(program, Module()).tasks]


def run_both(p, **feeds):
    """The fetches of a program on cpu, for every number of threads the same, near those of numpy."""
    made = plan(p)
    expected = made.session("numpy").run(p.name, feeds)
    outcomes = []
    for threads in COUNTS:
        lf.set_num_threads(threads)
        outcomes.append(made.session("cpu").run(p.name, feeds))
    for name, value in expected.items():
        np.testing.assert_allclose(outcomes[0][name], value, rtol=1e-5, atol=1e-5, err_msg=name)
        assert len({outcome[name].tobytes() for outcome in outcomes}) == 1
    return program_tasks(p.done(), Module()).tasks


@pytest.mark.parametrize("shape", [(3 * BLOCK + 7,), (2, 2 * BLOCK), (257, 1, 300), (BLOCK, 3)])
@pytest.mark.parametrize("transposed", [False, True])
def test_whole_array_is_normalised_in_two_levels(shape, transposed):
    p = Program(dimensions=())
    x, scale, y = p.feed("x", shape), p.feed("scale", ()), p.arena(shape)
    largest, total, after = p.arena(()), p.arena(()), p.arena(())
    strides = x.strides[::-1] if transposed else x.strides
    space, fixed = (shape[::-1] if transposed else shape), (0,) * len(shape)
    # 2 = max x, 4 = scale * (x - max x), 6 = sum of its squares, 7 = root, 8 = the quotient
    body = [call("reduce_max", 0), call("sub", 0, 2), call("mul", 3, 1), call("mul", 4, 4)]
    body += [call("reduce_sum", 5), call("sqrt", 6), call("div", 4, 7)]
    writes = [(8, y.access(strides)), (2, largest.access(fixed)), (6, total.access(fixed))]
    writes.append((7, after.access(fixed)))
    p.kernel([x.access(strides), scale.access(fixed)], body, writes, space=space, inner=len(shape))
    for name, value in (("y", y), ("largest", largest), ("total", total), ("after", after)):
        p.fetch(name, value)
    assert len(run_both(p, x=normal(*shape), scale=np.float32(0.5))) >= 5


def test_what_blocks_give_is_kept_apart_from_reads_that_stand_still():
    rows, columns = 300, 200
    p = Program(dimensions=())
    x, r, c, y = p.feed("x", (rows, columns)), p.feed("r", (rows, 1)), p.feed("c", (1, columns)), p.arena(())
    body = [call("mul", 1, 2), call("sub", 0, 3), call("reduce_sum", 4)]
    p.kernel([x, r.access((1, 0)), c.access((0, 1))], body, [(5, y.access((0, 0)))], inner=2)
    p.fetch("y", y)
    run_both(p, x=normal(rows, columns), r=normal(rows, 1), c=normal(1, columns))


def test_large_array_is_normalised_in_place():
    p = Program(dimensions=())
    w = p.variable("w", (3 * BLOCK,))
    p.kernel([w], [call("reduce_max", 0), call("sub", 0, 1)], [(2, w)], inner=1)
    made = plan(p, variables=[variable("w", (3 * BLOCK,))])
    value = normal(3 * BLOCK)
    for threads in COUNTS:
        lf.set_num_threads(threads)
        session = made.session("cpu")
        session.load_state_dict({"w": value})
        session.run("main")
        np.testing.assert_array_equal(session.get("w"), value - value.max())


@pytest.mark.parametrize("op", ["argmax", "reduce_sum"])
def test_reductions_whose_order_matters_are_not_split(op):
    p = Program(dimensions=())
    dtype, result = ("float32", "int64") if op == "argmax" else ("float16", "float16")
    x, y = p.feed("x", (3 * BLOCK,), dtype), p.arena((), result)
    p.kernel([x], [call(op, 0, dtype=result)], [(1, y.access((0,)))], inner=1)
    p.fetch("y", y)
    assert len(program_tasks(p.done(), Module()).tasks) == 1


SIZES = [(5,), (3 * BLOCK + 1,), (64, 3, 1, 7), (1, 9), (2 * BLOCK,), (300, 200)]


def sums(shapes):
    """A program that sums the squares of many arrays, each by a kernel."""
    p = Program(dimensions=())
    scale, feeds = p.feed("scale", ()), [p.feed(f"x{i}", shape) for i, shape in enumerate(shapes)]
    for i, x in enumerate(feeds):
        y, fixed = p.arena(()), (0,) * len(x.shape)
        body = [call("mul", 1, 0), call("mul", 2, 2), call("reduce_sum", 3)]
        p.kernel([scale.access(fixed), x], body, [(4, y.access(fixed))], space=x.shape, inner=len(fixed))
        p.fetch(f"y{i}", y)
    return p


def test_sums_of_many_arrays_are_one_task():
    p = sums(SIZES)
    given = {f"x{i}": normal(*shape) for i, shape in enumerate(SIZES)}
    tasks = run_both(p, scale=np.float32(0.5), **given)
    assert len(tasks) == 4  # small ones, blocks of large ones, what those gave, what follows from it
    alone = {f"y{i}": lone_sum(shape, given[f"x{i}"]) for i, shape in enumerate(SIZES)}
    together = plan(p).session("cpu").run("main", scale=np.float32(0.5), **given)
    assert {name: value.tobytes() for name, value in together.items()} == alone


def lone_sum(shape, x):
    return plan(sums([shape])).session("cpu").run("main", scale=np.float32(0.5), x0=x)["y0"].tobytes()


def chained(first, second):
    """Two sums, each of a read at an offset of the one variable, and written there."""
    p = Program(dimensions=())
    w = p.variable("w", (100,))
    for start, to in (first, second):
        body = [call("reduce_sum", 0)]
        p.kernel([w.access((1,), start)], body, [(1, w.access((0,), to))], space=(10,), inner=1)
    return p


@pytest.mark.parametrize(
    ("first", "second", "joined"),
    [
        ((0, 50), (10, 51), True),
        ((0, 15), (10, 51), False),  # the second reads what the first has written
        ((0, 50), (10, 5), False),  # the second writes what the first reads
        ((0, 50), (10, 50), False),  # both write one element
        ((0, 19), (10, 50), False),
        ((0, 20), (10, 50), True),
    ],
)
def test_sums_that_need_an_order_keep_it(first, second, joined):
    p = chained(first, second)
    made = plan(p, variables=[variable("w", (100,))])
    states = []
    for backend in ("numpy", "cpu"):
        session = made.session(backend)
        session.load_state_dict({"w": np.arange(100, dtype=np.float32)})
        session.run("main")
        states.append(session.get("w"))
    np.testing.assert_array_equal(*states)
    assert len(program_tasks(p.done(), Module()).tasks) == (1 if joined else 2)


def test_names_of_buffers_in_the_arena_do_not_set_them_apart():
    p = Program(dimensions=())
    x, negative, first = p.feed("x", (10,)), p.arena((10,)), p.arena(())
    p.kernel([x], [call("neg", 0)], [(1, negative)])
    second = p.arena((), slot=0)  # where the first sum reads
    p.buffers[second.buffer] = replace(p.buffers[second.buffer], name="second")
    for source, target in ((negative, first), (x, second)):
        p.kernel([source], [call("reduce_sum", 0)], [(1, target.access((0,)))], inner=1)
    p.fetch("first", first)
    p.fetch("second", second)
    assert len(run_both(p, x=normal(10))) == 3


def test_updates_in_a_row_take_the_columns_of_the_last_of_named_rows():
    p = Program(dimensions=("rows",))
    rate = p.feed("rate", ("rows",))
    for name in "ab":
        w, group = p.variable(name, (5,)), p.variable(f"{name}/group", (), "int32")
        segment = schema.Segment(size=5, reads=(w.buffer,), writes=(w.buffer,), group=group.buffer)
        last = (rate.access((1,), "rows - 1"),)
        p.add(schema.KernelBatch(columns=last, body=(call("sub", 0, 1),), results=(2,), segments=(segment,)))
    variables = [variable(name, (5,)) for name in "ab"]
    variables += [variable(f"{name}/group", (), "int32") for name in "ab"]
    session = plan(p, variables=variables).session("cpu")
    session.run("main", rate=np.array([1, 2, 3], np.float32))
    assert [session.get(name).tolist() for name in "ab"] == [[-3.0] * 5] * 2
    assert len(program_tasks(p.done(), Module()).tasks) == 3  # two checks of groups, and one of all updates


def test_numbers_in_a_body_do_not_keep_it_in_one_piece():
    p = Program(dimensions=())
    x, y = p.feed("x", (4 * BLOCK,)), p.arena(())
    body = [literal(2.0), call("mul", 0, 1), call("reduce_sum", 2)]
    p.kernel([x], body, [(3, y.access((0,)))], inner=1)
    p.fetch("y", y)
    assert len(run_both(p, x=normal(4 * BLOCK))) == 2
    assert Body(1, tuple(body)).reductions() == [[3]]
