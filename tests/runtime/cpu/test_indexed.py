"""Gather, scatter_add, check and batched updates on the cpu backend: results and errors are numpy's."""

import numpy as np
import pytest

from documents import Program, call, document, literal, plan, variable
from lazyflow.runtime import schema
from lazyflow.runtime.errors import OutOfRangeError
from lazyflow.runtime.plan import Plan

ORIGINS = (schema.Origin(name="tokens", location="model.py:7"),)
BACKENDS = ("numpy", "cpu")


def normal(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)


def both(made, feeds):
    """What the program gives on each backend: fetches, or the text of the error."""
    outcomes = []
    for backend in BACKENDS:
        try:
            outcomes.append(made.session(backend).run("main", dict(feeds)))
        except OutOfRangeError as error:
            outcomes.append(str(error))
    return outcomes


def gather(width, dtype="int32", along=False):
    p = Program()
    table, index = p.feed("table", (10, width)), p.feed("index", ("batch", 3), dtype)
    y = p.arena(("batch", 3, width))
    strides = (0, 0, 1)
    item = schema.Gather(
        space=("batch", 3, width),
        axis_size=10,
        axis_stride=width,
        table=table.access(strides),
        index=index.access((3, 1, 0)),
        out=y.access(),
        origin=(0,),
    )
    p.add(item)
    p.fetch("y", y)
    return Plan(document(p, origins=ORIGINS), {})


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8"])
@pytest.mark.parametrize("width", [1, 4, 16, 50])
def test_gather_of_rows(width, dtype):
    index = np.random.default_rng(0).integers(0, 10, (6, 3)).astype(dtype)
    expected, found = both(gather(width, dtype), {"table": normal(10, width), "index": index})
    np.testing.assert_array_equal(found["y"], expected["y"])


@pytest.mark.parametrize("bad", [-1, 10, 2**31 - 1, -(2**31)])
def test_gather_refuses_what_numpy_refuses_in_the_same_words(bad):
    index = np.zeros((4, 3), np.int32)
    index[2, 1] = bad
    expected, found = both(gather(5), {"table": normal(10, 5), "index": index})
    assert isinstance(found, str)
    assert found == expected


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int64"])
@pytest.mark.parametrize("width", [1, 2, 40])
def test_scatter_add_sums_in_order(width, dtype):
    p = Program()
    source, index = p.feed("source", ("batch", width), dtype), p.feed("index", ("batch",), "int64")
    y = p.arena((3, width), dtype)
    item = schema.ScatterAdd(
        space=("batch", width),
        axis_size=3,
        axis_stride=width,
        table=y.access((0, 1)),
        index=index.access((1, 0)),
        source=source.access(),
        origin=(0,),
    )
    p.add(item)
    p.fetch("y", y)
    made = Plan(document(p, origins=ORIGINS), {})
    rows = (100 * normal(60, width)).astype(dtype)
    expected, found = both(made, {"source": rows, "index": np.random.default_rng(1).integers(0, 3, 60)})
    np.testing.assert_array_equal(found["y"], expected["y"])
    expected, found = both(made, {"source": rows, "index": np.full(60, 3)})
    assert found == expected
    assert "index 3 is outside" in found


def test_check_fails_before_any_effect():
    p = Program()
    index, w = p.feed("index", ("batch",), "int64"), p.variable("w", ())
    p.add(schema.Check(space=("batch",), size=3, index=index.access(), origin=(0,)))
    p.kernel([w], [literal(1.0), call("add", 0, 1)], [(2, w)])
    made = plan(p, variables=[variable("w")], origins=ORIGINS)
    session = made.session("cpu")
    session.run("main", index=np.array([0, 2]))
    with pytest.raises(OutOfRangeError, match="index 3 is outside") as caught:
        session.run("main", index=np.array([0, 3]))
    assert str(caught.value) == both(made, {"index": np.array([0, 3])})[0]
    assert session.get("w") == 1.0


SHAPES = [(2, 3), (4,), (70000,), (1,), (17, 5)]


def batch_update(reduces=False):
    """w -= lr * g for parameters of different groups; divided by the largest g of the segment, if asked."""
    p = Program("main", dimensions=())
    on = p.feed("on", (), "bool")
    lr = p.variable("lr", (2,), "float64")
    segments, variables = [], [variable("lr", (2,), "float64", 0.5)]
    for number, shape in enumerate(SHAPES):
        w, g = p.variable(f"w{number}", shape), p.feed(f"g{number}", shape)
        group = p.variable(f"w{number}/group", (), "int32")
        flat = w.flat.shape[0]
        segments.append(
            schema.Segment(size=flat, reads=(w.buffer, g.buffer), writes=(w.buffer,), group=group.buffer)
        )
        variables += [variable(f"w{number}", shape), variable(f"w{number}/group", (), "int32", number % 2)]
    body = [call("cast", 2), call("mul", 1, 3), call("sub", 0, 4)]
    if reduces:
        body = [
            call("cast", 2),
            call("reduce_max", 1),
            call("div", 1, 4),
            call("mul", 5, 3),
            call("sub", 0, 6),
        ]
    item = schema.KernelBatch(
        columns=(lr.access((1,)),),
        body=tuple(body),
        results=(len(body) + 2,),
        segments=tuple(segments),
        when=on.buffer,
    )
    p.add(item)
    return plan(p, variables=variables)


def gradients():
    return {f"g{number}": normal(*shape, seed=number) for number, shape in enumerate(SHAPES)}


@pytest.mark.parametrize("reduces", [False, True])
def test_batched_update_of_segments_in_several_groups(reduces):
    states = []
    for backend in BACKENDS:
        session = batch_update(reduces).session(backend)
        session.set("lr", np.array([0.5, 2.0]))
        for on in (True, False, True):
            session.run("main", gradients(), on=on)
        states.append(session.state_dict())
    for name, expected in states[0].items():
        np.testing.assert_array_equal(states[1][name], expected, err_msg=name)
    assert states[1]["w0"].any()


@pytest.mark.parametrize("on", [True, False])
@pytest.mark.parametrize("group", [2, -1])
def test_group_without_a_row_is_refused_before_any_effect(group, on):
    texts = []
    for backend in BACKENDS:
        session = batch_update().session(backend)
        session.bind("w3/group", np.array(group, np.int32))
        with pytest.raises(OutOfRangeError) as caught:
            session.run("main", gradients(), on=on)
        texts.append(str(caught.value))
        assert not session.get("w0").any()
    assert texts[0] == texts[1]
