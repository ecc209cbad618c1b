"""Every kind of instruction on the numpy backend, against NumPy on whole arrays."""

import numpy as np
import pytest

from documents import Program, call, document, literal, plan, variable
from lazyflow.runtime import schema
from lazyflow.runtime.errors import OutOfRangeError
from lazyflow.runtime.plan import Plan


def normal(*shape, dtype=np.float32):
    return np.random.default_rng(len(shape)).normal(size=shape).astype(dtype)


def one(program, **feeds):
    """The fetch "y" of a plan that has one program and no variables."""
    return plan(program).session("numpy").run(program.name, feeds)["y"]


def test_kernel_maps_over_strided_reads():
    p = Program()
    x, y = p.feed("x", ("batch", 3)), p.arena((3, "batch"))
    body = [literal(2.0), call("mul", 0, 1)]
    p.kernel([x.access((1, 3))], body, [(2, y)], space=(3, "batch"))
    p.fetch("y", y)
    a = normal(4, 3)
    np.testing.assert_array_equal(one(p, x=a), 2 * a.T)


def test_kernel_reads_backwards_with_a_negative_stride():
    p = Program(dimensions=())
    x, y = p.feed("x", (5,)), p.arena((3,))
    p.kernel([x.access((-2,), offset=4)], [], [(0, y)], space=(3,))
    p.fetch("y", y)
    assert one(p, x=np.arange(5, dtype=np.float32)).tolist() == [4, 2, 0]


def test_kernel_writes_row_values_beside_elements():
    p = Program()
    x, sums, shares = p.feed("x", ("batch", 4)), p.arena(("batch",)), p.arena(("batch", 4))
    body = [call("reduce_sum", 0), call("div", 0, 1)]
    p.kernel([x], body, [(1, sums.access((1, 0))), (2, shares)], inner=1)
    p.fetch("y", shares)
    p.fetch("sums", sums)
    a = abs(normal(3, 4))
    found = plan(p).session("numpy").run("main", x=a)
    np.testing.assert_allclose(found["sums"], a.sum(1), rtol=1e-6)
    np.testing.assert_allclose(found["y"], a / a.sum(1, keepdims=True), rtol=1e-6)


def test_kernel_of_rank_zero():
    p = Program(dimensions=())
    x, y = p.feed("x", ()), p.arena(())
    p.kernel([x], [call("exp", 0)], [(1, y)])
    p.fetch("y", y)
    found = one(p, x=1.0)
    assert found.shape == ()
    np.testing.assert_allclose(found, np.e, rtol=1e-6)


def test_writes_see_arguments_from_before_the_kernel():
    p = Program(dimensions=())
    c, kept = p.arena((2,)), p.arena((2,))
    p.kernel([], [literal(1.0)], [(0, c)], space=(2,))
    # value 0 is the argument itself, whose memory the first write changes
    p.kernel([c], [literal(5.0)], [(1, c), (0, kept)])
    p.fetch("y", kept)
    assert one(p).tolist() == [1.0, 1.0]


def test_sizes_and_indices_enter_a_kernel():
    p = Program()
    x, y = p.feed("x", ("batch",)), p.arena(("batch",), "int64")
    body = [
        call("index", dtype="int64", value=0),
        call("size", dtype="int64", value="batch"),
        call("sub", 2, 1, dtype="int64"),
    ]
    p.kernel([x], body, [(3, y)])
    p.fetch("y", y)
    assert one(p, x=normal(4)).tolist() == [4, 3, 2, 1]


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_matmul_of_batches_with_transposes_as_strides(dtype):
    p = Program()
    a, b, y = p.feed("a", ("batch", 3, 4), dtype), p.feed("b", (5, 4), dtype), p.arena(("batch", 3, 5), dtype)
    p.add(schema.MatMul(batch=("batch",), m=3, n=5, k=4, a=a.access(), b=b.access((0, 1, 4)), out=y.access()))
    p.fetch("y", y)
    x, w = normal(2, 3, 4, dtype=dtype), normal(5, 4, dtype=dtype)
    tolerance = 2e-3 if dtype == "float16" else 1e-5  # one rounding to float16, after a sum in float32
    found = one(p, a=x, b=w)
    assert found.dtype == dtype
    np.testing.assert_allclose(found, x.astype(float) @ w.T.astype(float), rtol=tolerance, atol=tolerance)


def test_matmul_with_no_unit_stride():
    p = Program(dimensions=())
    a, b, y = p.feed("a", (4, 6)), p.feed("b", (3, 2)), p.arena((2, 2))
    p.add(schema.MatMul(batch=(), m=2, n=2, k=3, a=a.access((12, 2)), b=b.access(), out=y.access()))
    p.fetch("y", y)
    x, w = normal(4, 6), normal(3, 2)
    np.testing.assert_allclose(one(p, a=x, b=w), x[::2, ::2] @ w, rtol=1e-5)


def embedding():
    """y[b, t, :] = table[index[b, t], :]."""
    p = Program()
    table, index = p.feed("table", (10, 4)), p.feed("index", ("batch", 3), "int32")
    y = p.arena(("batch", 3, 4))
    p.add(
        schema.Gather(
            space=("batch", 3, 4),
            axis_size=10,
            axis_stride=4,
            table=table.access((0, 0, 1)),
            index=index.access((3, 1, 0)),
            out=y.access(),
            origin=(0,),
        )
    )
    p.fetch("y", y)
    return Plan(document(p, origins=(schema.Origin(name="tokens", location="model.py:7"),)), {})


def test_gather_takes_rows():
    table, index = normal(10, 4), np.random.default_rng(0).integers(0, 10, (2, 3), dtype=np.int32)
    found = embedding().session("numpy").run("main", table=table, index=index)["y"]
    np.testing.assert_array_equal(found, table[index])


@pytest.mark.parametrize("bad", [-1, 10])
def test_gather_refuses_indices_outside_of_the_axis(bad):
    index = np.array([[0, bad, 9]], np.int32)
    with pytest.raises(OutOfRangeError) as caught:
        embedding().session("numpy").run("main", table=normal(10, 4), index=index)
    text = str(caught.value)
    assert text.startswith(f"tokens: index {bad} is outside of its axis of 10 elements")
    assert "indices from 0 to 9; 1 of 3 are not" in text
    assert "at model.py:7" in text


def test_gather_along_an_axis_picks_one_per_row():
    p = Program()
    table, index, y = p.feed("table", ("batch", 5)), p.feed("index", ("batch",), "int64"), p.arena(("batch",))
    p.add(
        schema.Gather(
            space=("batch",),
            axis_size=5,
            axis_stride=1,
            table=table.access((5,)),
            index=index.access(),
            out=y.access(),
        )
    )
    p.fetch("y", y)
    a, i = normal(3, 5), np.array([4, 0, 2])
    np.testing.assert_array_equal(one(p, table=a, index=i), a[np.arange(3), i])


def test_gather_of_columns():
    p = Program(dimensions=())
    table, index, y = p.feed("table", (3, 5)), p.feed("index", (2,), "int64"), p.arena((3, 2))
    p.add(
        schema.Gather(
            space=(3, 2),
            axis_size=5,
            axis_stride=1,
            table=table.access((5, 0)),
            index=index.access((0, 1)),
            out=y.access(),
        )
    )
    p.fetch("y", y)
    a = normal(3, 5)
    np.testing.assert_array_equal(one(p, table=a, index=np.array([4, 1])), a[:, [4, 1]])


@pytest.mark.parametrize("dtype", ["float32", "float16", "int64"])
def test_scatter_add_sums_in_order(dtype):
    p = Program()
    source, index = p.feed("source", ("batch", 2), dtype), p.feed("index", ("batch",), "int64")
    y = p.arena((3, 2), dtype)
    p.add(
        schema.ScatterAdd(
            space=("batch", 2),
            axis_size=3,
            axis_stride=2,
            table=y.access((0, 1)),
            index=index.access((1, 0)),
            source=source.access(),
        )
    )
    p.fetch("y", y)
    a, i = (100 * normal(50, 2)).astype(dtype), np.random.default_rng(1).integers(0, 3, 50)
    expected = np.zeros((3, 2), np.float32 if dtype == "float16" else dtype)
    for row, values in zip(i, a, strict=True):
        expected[row] += values
    np.testing.assert_array_equal(one(p, source=a, index=i), expected.astype(dtype))


def test_check_refuses_before_any_effect():
    p = Program()
    index, w = p.feed("index", ("batch",), "int64"), p.variable("w", ())
    p.add(schema.Check(space=("batch",), size=3, index=index.access()))
    p.kernel([w], [literal(1.0), call("add", 0, 1)], [(2, w)])
    session = plan(p, variables=[variable("w")]).session("numpy")
    session.run("main", index=np.array([0, 2]))
    with pytest.raises(OutOfRangeError, match="index 3 is outside"):
        session.run("main", index=np.array([0, 3]))
    assert session.get("w") == 1.0


def test_copy_moves_between_layouts():
    p = Program(dimensions=())
    x, y = p.feed("x", (2, 3)), p.arena((3, 4))
    p.kernel([], [literal(0.0)], [(0, y)], space=(3, 4))
    p.add(schema.Copy(space=(2, 3), source=x.access(), to=y.access((1, 4), offset=2)))
    p.fetch("y", y)
    a = normal(2, 3)
    np.testing.assert_array_equal(one(p, x=a), np.concatenate([np.zeros((3, 2)), a.T], axis=1))


def test_constants_are_read():
    p = Program(dimensions=())
    c, y = p.constant("table", (3,)), p.arena((3,))
    p.kernel([c], [call("add", 0, 0)], [(1, y)])
    p.fetch("y", y)
    row = schema.Constant(name="table", dtype="float32", shape=(3,))
    made = plan(p, constants=[row], arrays={"table": np.array([1, 2, 3], np.float32)})
    assert made.session("numpy").run("main")["y"].tolist() == [2, 4, 6]


def batch_update():
    """w -= lr * g for two parameters of different groups, with lr per group."""
    p = Program("train")
    on = p.feed("on", (), "bool")
    lr = p.variable("lr", (2,), "float64")
    segments = []
    for name, shape in (("a", (2, 3)), ("b", (4,))):
        w, g = p.variable(name, shape), p.feed(f"g_{name}", shape)
        group = p.variable(f"{name}/group", (), "int32")
        size = w.flat.shape[0]
        segments.append(
            schema.Segment(size=size, reads=(w.buffer, g.buffer), writes=(w.buffer,), group=group.buffer)
        )
    body = (call("cast", 2), call("mul", 1, 3), call("sub", 0, 4))
    p.dimensions = ()
    p.add(
        schema.KernelBatch(
            columns=(lr.access((1,)),), body=body, results=(5,), segments=tuple(segments), when=on.buffer
        )
    )
    variables = [
        variable("lr", (2,), "float64"),
        variable("a", (2, 3)),
        variable("b", (4,)),
        variable("a/group", (), "int32", 1),
        variable("b/group", (), "int32", 0),
    ]
    return plan(p, variables=variables)


def test_kernel_batch_updates_each_segment_with_the_row_of_its_group():
    session = batch_update().session("numpy")
    session.set("lr", np.array([0.5, 2.0]))
    a, b = normal(2, 3), normal(4)
    session.run("train", g_a=a, g_b=b, on=True)
    np.testing.assert_array_equal(session.get("a"), -2 * a)
    np.testing.assert_array_equal(session.get("b"), -b / 2)


def test_instruction_with_false_when_does_nothing():
    session = batch_update().session("numpy")
    session.set("lr", np.ones(2))
    session.run("train", g_a=normal(2, 3), g_b=normal(4), on=False)
    assert not session.get("a").any()


def test_kernel_batch_refuses_a_group_that_has_no_row():
    session = batch_update().session("numpy")
    session.bind("a/group", np.array(2, np.int32))
    with pytest.raises(OutOfRangeError, match="group index 2 is outside of its optimizer's 2 groups"):
        session.run("train", g_a=normal(2, 3), g_b=normal(4), on=True)


def printing(text, on_change=False):
    p = Program(dimensions=())
    x = p.feed("x", ())
    p.add(schema.Print(text=text, space=(), source=x.access(), on_change=on_change))
    return plan(p).session("numpy")


@pytest.mark.parametrize(
    ("text", "line"),
    [("rate", "rate 0.5"), ("is {}.", "is 0.5."), ("is {:.4e}.", "is 5.0000e-01."), ("{0}", "{0} 0.5")],
)
def test_print_puts_the_value_into_its_text(text, line, capsys):
    printing(text).run("main", x=0.5)
    assert capsys.readouterr().out == line + "\n"


def test_print_on_change_is_silent_while_the_value_stays(capsys):
    session = printing("rate", on_change=True)
    for value in (1.0, 1.0, 2.0, 2.0, 1.0):
        session.run("main", x=value)
    assert capsys.readouterr().out == "rate 1.0\nrate 2.0\nrate 1.0\n"


def test_three_batch_sizes_prepare_a_program_once():
    p = Program()
    x, y = p.feed("x", ("batch",)), p.arena(("batch",))
    p.kernel([x], [call("neg", 0)], [(1, y)])
    p.fetch("y", y)
    session = plan(p).session("numpy")
    for batch in (4, 64, 3, 64):
        np.testing.assert_array_equal(session.run("main", x=normal(batch))["y"], -normal(batch))
    assert session.backend.prepared == 1


def test_programs_share_an_arena_that_grows():
    small, large = Program("small"), Program("large")
    for p, width in ((small, 2), (large, 50)):
        x, y = p.feed("x", ("batch", width)), p.arena(("batch", width))
        p.kernel([x], [call("neg", 0)], [(1, y)])
        p.fetch("y", y)
    session = plan(small, large).session("numpy")
    for name, width in (("small", 2), ("large", 50), ("small", 2)):
        x = normal(3, width)
        np.testing.assert_array_equal(session.run(name, x=x)["y"], -x)


def test_oracle_precision_computes_in_float64():
    p = Program(dimensions=())
    x, y = p.feed("x", (2,)), p.arena((2,))
    p.kernel([x], [literal(1e-10), call("add", 0, 1)], [(2, y)])
    p.fetch("y", y)
    found = plan(p).session("numpy", precision="float64").run("main", x=np.ones(2, np.float32))["y"]
    assert found.dtype == np.float64
    assert (found == 1 + 1e-10).all()


def test_buffers_that_share_memory_hold_their_values_one_after_the_other():
    p = Program()
    x = p.feed("x", ("batch",))
    a = p.arena(("batch",))
    b, y = p.arena(("batch",), slot=0), p.arena(("batch",))
    p.kernel([x], [call("neg", 0)], [(1, a)])
    p.kernel([a], [call("exp", 0)], [(1, b)])
    p.kernel([b], [call("add", 0, 0)], [(1, y)])
    p.fetch("y", y)
    v = normal(5)
    np.testing.assert_allclose(one(p, x=v), 2 * np.exp(-v), rtol=1e-6)
