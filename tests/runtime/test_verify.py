"""The verifier: what is well formed passes, and whatever is corrupted is refused with the reason."""

import copy

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from documents import Program, call, document, literal, plan, variable
from lazyflow.runtime import schema
from lazyflow.runtime.errors import LazyflowError, PlanError
from lazyflow.runtime.plan import Plan
from lazyflow.runtime.verify import verify

TABLE = np.arange(12, dtype=np.float32).reshape(4, 3)


def everything():
    """A document with every kind of instruction."""
    p = Program("train")
    x, index = p.feed("x", ("batch", 3)), p.feed("index", ("batch",), "int64")  # buffers 0 and 1
    table, w = p.constant("table", (4, 3)), p.variable("w", (3, 2))  # 2 and 3
    rows, sums, logits = p.arena(("batch", 3)), p.arena(("batch",)), p.arena(("batch", 2))  # 4, 5 and 6
    scattered, lr, group = (
        p.arena((4, 3)),
        p.variable("lr", (2,), "float64"),
        p.variable("w/group", (), "int32"),
    )
    on = p.arena((), "bool")  # 10
    p.add(schema.Check(space=("batch",), size=4, index=index.access(), origin=(0,)))
    p.add(
        schema.Gather(
            space=("batch", 3),
            axis_size=4,
            axis_stride=3,
            table=table.access((0, 1)),
            index=index.access((1, 0)),
            out=rows.access(),
        )
    )
    p.kernel([x, rows], [call("mul", 0, 1), call("reduce_sum", 2)], [(3, sums.access((1, 0)))], inner=1)
    p.add(schema.MatMul(batch=(), m="batch", n=2, k=3, a=x.access(), b=w.access(), out=logits.access()))
    p.add(
        schema.ScatterAdd(
            space=("batch", 3),
            axis_size=4,
            axis_stride=3,
            table=scattered.access((0, 1)),
            index=index.access((1, 0)),
            source=x.access(),
        )
    )
    p.kernel(
        [scattered],
        [
            literal(0.0),
            call("gt", 0, 1, dtype="bool"),
            call("cast", 2, dtype="int32"),
            call("reduce_max", 3, dtype="int32"),
            literal(0, "int32"),
            call("gt", 4, 5, dtype="bool"),
        ],
        [(6, on.access((0, 0)))],
        inner=2,
    )
    p.add(
        schema.KernelBatch(
            columns=(lr.access((1,)),),
            body=(call("cast", 1), call("mul", 0, 2), call("sub", 0, 3)),
            results=(4,),
            segments=(schema.Segment(size=6, reads=(w.buffer,), writes=(w.buffer,), group=group.buffer),),
            when=on.buffer,
        )
    )
    p.add(schema.Copy(space=("batch",), source=logits.access((2,), offset=1), to=sums.access()))
    p.add(schema.Print(text="sum {:.3e}", space=(), source=sums.access(())))
    p.fetch("sums", sums)
    p.fetch("logits", logits)
    optimizer = schema.Optimizer(
        name="sgd",
        kind="SGD",
        groups=(schema.Group(scalars={"momentum": ("m",)}, ranges={"momentum": (0, 1, False, True)}),),
        members={"w": "w/group"},
        state={"w": ()},
    )
    return document(
        p,
        variables=[
            variable("w", (3, 2), initial=1.0),
            variable("lr", (2,), "float64", 0.5),
            variable("w/group", (), "int32", 1),
            variable("m", (), "float64"),
        ],
        constants=[schema.Constant(name="table", dtype="float32", shape=(4, 3))],
        optimizers=(optimizer,),
        origins=(schema.Origin(name="index", location="train.py:4"),),
    )


def run(made):
    session = Plan(made, {"table": TABLE}).session("numpy")
    return session.run("train", x=np.ones((2, 3), np.float32), index=np.array([0, 3]))


def changed(path, value):
    """The document with one field changed; the path is written like ``programs.0.slots.1``."""
    tree = msgspec.json.decode(msgspec.json.encode(everything()))
    place = tree
    *way, last = [int(part) if part.isdecimal() else part for part in path.split(".")]
    for part in way:
        place = place[part]
    place[last] = value
    return msgspec.convert(tree, schema.Document)


def reason(made):
    with pytest.raises(PlanError) as caught:
        verify(made)
    return str(caught.value)


def test_well_formed_document_verifies_and_runs():
    verify(everything())
    assert run(everything())["logits"].tolist() == [[3, 3], [3, 3]]


P = "programs.0"
I = f"{P}.instructions"  # noqa: E741
CORRUPTIONS = [
    # tables
    ("version", [2, 0], "plan of version 2.0; this is 1.0"),
    ("variables.0.name", "", "variable without a name"),
    ("variables.0.name", "lr", "two variables are named 'lr'"),
    ("variables.0.name", "a\x1b[2J", "holds characters that cannot be printed"),
    ("variables.0.name", "n" * 2000, "a name of 2000 characters"),
    ("variables.0.dtype", "object", "'w': 'object' is no dtype"),
    ("variables.0.shape", [3, 0], "'w': shape (3, 0) is beyond the limits"),
    ("variables.0.shape", [2**40, 2**40], "is beyond the limits"),
    ("variables.0.shape", [3, 3], "it is not the memory of a variable 'w'"),
    ("variables.0.initial", "1", "the initial value '1' is no float32"),
    ("variables.2.initial", 0.5, "the initial value 0.5 is no int32"),
    ("variables.0.initial", 10**400, "is no float32"),
    ("constants.0.name", "other", "it is not the memory of a constant 'table'"),
    ("constants.0.dtype", "float64", "it is not the memory of a constant 'table'"),
    ("origins.0.location", "a\nb", "holds characters that cannot be printed"),
    # optimizers
    ("optimizers.0.groups", [], "optimizer 'sgd' has no groups"),
    ("optimizers.0.groups.0.scalars.momentum", ["lr"], "'lr' is no variable that holds one float64"),
    ("optimizers.0.groups.0.ranges.momentum", ["a", 1, False, False], "the range of 'momentum' is"),
    ("optimizers.0.members.w", "w", "'w' is no variable that holds one int32"),
    ("optimizers.0.state.w", ["v"], "'v' is no variable"),
    # programs, buffers, feeds, fetches
    (f"{P}.dimensions", ["batch", "time"], "dimension 'time' is an axis of no feed"),
    (f"{P}.dimensions", ["batch", "batch"], "two program 'train': dimensions are named 'batch'"),
    (f"{P}.dimensions", [], "mentions a name that is no dimension"),
    (f"{P}.feeds.0.name", "y", "it is not the memory of a feed 'x'"),
    (f"{P}.feeds.0.shape", ["batch", 4], "it is not the memory of a feed 'x'"),
    (f"{P}.feeds.0.dtype", "int32", "it is not the memory of a feed 'x'"),
    (f"{P}.feeds.0.buffer", 1, "two feeds share a buffer"),
    (f"{P}.feeds.0.buffer", 4, "buffer 0: it is not the memory of a feed 'x'"),
    (f"{P}.feeds.0.location", "\0", "holds characters that cannot be printed"),
    (f"{P}.buffers.0.dtype", "str", "buffer 0: 'str' is no dtype"),
    (f"{P}.buffers.0.size", "4*batch", "buffer 0: it is not the memory of a feed 'x'"),
    (f"{P}.buffers.3.name", "v", "buffer 3: it is not the memory of a variable 'v'"),
    (f"{P}.buffers.3.place", "disk", "buffer 3: 'disk' is no place"),
    (f"{P}.buffers.4.slot", 9, "buffer 4: slot 9 does not exist"),
    (f"{P}.buffers.4.slot", -1, "buffer 4: slot -1 does not exist"),
    (f"{P}.buffers.4.offset", -4, "offset -4 is no multiple"),
    (f"{P}.buffers.4.offset", 2, "offset 2 is no multiple"),
    (f"{P}.buffers.4.offset", 4, "it ends at byte 12*batch + 4 of slot 0, which has 12*batch"),
    (f"{P}.buffers.4.size", "4*batch", "it ends at byte 16*batch of slot 0, which has 12*batch"),
    (f"{P}.buffers.4.size", "batch", "an access may leave its buffer"),
    (f"{P}.buffers.4.size", "2*batch - 2", "extent 2*batch - 2 is not certainly 1 or more"),
    (f"{P}.buffers.4.size", "batch*batch*3 + 1", "is not in canonical form"),
    (f"{P}.buffers.4.size", "7", "is a number written as text"),
    (f"{P}.buffers.4.size", "batch + " * 99, "the limit is 256"),
    (f"{P}.buffers.4.size", 2**60, "is beyond the limit"),
    (f"{P}.buffers.4.size", "*".join(["batch"] * 9), "1 terms of degree 9; the limits are"),
    (f"{P}.feeds.0.shape", ["batch"] * 9, "1 terms of degree 7; the limits are"),
    (f"{P}.slots.0", "11*batch", "it ends at byte 12*batch of slot 0"),
    (f"{P}.slots.0", "12*time", "mentions a name that is no dimension"),
    (f"{P}.lower_bound", [-1], "-1 bytes are not certainly 0 or more"),
    (f"{P}.fetches.0.name", "logits", "two program 'train': fetchs are named 'logits'"),
    (f"{P}.fetches.0.dtype", "float64", "fetch 'sums' is float64, its buffer float32"),
    (f"{P}.fetches.0.shape", ["2*batch"], "an access may leave its buffer"),
    (f"{P}.fetches.0.source.buffer", 99, "buffer 99 does not exist"),
    (f"{P}.fetches.0.source.strides", [1, 1], "an access has 2 strides over 1 axes"),
    # check
    (f"{I}.0.origin", [1], "instruction 0 (check): an origin does not exist"),
    (f"{I}.0.size", 0, "extent 0 is not certainly 1 or more"),
    (f"{I}.0.index.buffer", 0, "the index is of no integer type"),
    (f"{I}.0.when", 1, "`when` is no bool scalar"),
    (f"{I}.0.when", 10, "buffer 10 is read before it is written"),
    # gather
    (f"{I}.1.axis_size", 5, "an access may leave its buffer"),
    (f"{I}.1.axis_stride", 4, "an access may leave its buffer"),
    (f"{I}.1.table.offset", 1, "an access may leave its buffer: elements 1 to 12 of buffer 2"),
    (f"{I}.1.table.offset", -1, "an access may leave its buffer"),
    (f"{I}.1.table.strides", [1], "the table has not one stride per axis"),
    (f"{I}.1.out.buffer", 2, "buffer 2 is written, but it is a constant"),
    (f"{I}.1.out.buffer", 0, "buffer 0 is written, but it is a feed"),
    (f"{I}.1.out.strides", [0, 1], "may reach an element twice"),
    (f"{I}.1.out.strides", ["batch - 2", 1], "stride batch - 2 may be positive or negative"),
    (f"{I}.1.index.buffer", 0, "the index is of no integer type"),
    # kernel
    (f"{I}.2.space", ["batch", 4], "an access may leave its buffer"),
    (f"{I}.2.space", ["batch"] * 33, "strides over 33 axes"),
    (f"{I}.2.inner", 3, "3 inner axes of 2"),
    (f"{I}.2.inner", 0, "value 3 varies along an axis on which its write stands still"),
    (f"{I}.2.reads.0.buffer", 6, "an access may leave its buffer"),
    (f"{I}.2.reads.0.buffer", -1, "buffer -1 does not exist"),
    (f"{I}.2.reads.0.buffer", 7, "an access may leave its buffer"),
    (f"{I}.2.reads.1.buffer", 1, "an access may leave its buffer"),
    (f"{I}.2.reads.1.strides", ["3*batch", 1], "an access may leave its buffer"),
    (f"{I}.2.body.0.op", "system", "'system' is no scalar op"),
    (f"{I}.2.body.0.op", "exp", "exp takes 1 arguments, got 2"),
    (f"{I}.2.body.0.args", [0, 2], "mul takes a value that is made later"),
    (f"{I}.2.body.0.args", [0, -1], "mul takes a value that is made later"),
    (f"{I}.2.body.0.dtype", "float64", "mul gives float32, declared float64"),
    (f"{I}.2.body.0.dtype", "complex", "'complex' is no dtype"),
    (f"{I}.2.body.0.value", 1, "mul takes no value"),
    (f"{I}.2.body.1.op", "argmax", "argmax gives int64, declared float32"),
    (f"{I}.2.writes.0.value", 4, "value 4 does not exist"),
    (f"{I}.2.writes.0.value", 2, "value 2 varies along an axis on which its write stands still"),
    (f"{I}.2.writes.0.to.buffer", 10, "an access may leave its buffer"),
    (f"{I}.2.writes.0.to.strides", [2, 0], "an access may leave its buffer"),
    # matmul
    (f"{I}.3.k", 4, "an access may leave its buffer"),
    (f"{I}.3.n", 3, "an access may leave its buffer"),
    (f"{I}.3.m", "batch + 1", "an access may leave its buffer"),
    (f"{I}.3.batch", [2], "an access has 2 strides over 3 axes"),
    (f"{I}.3.a.buffer", 8, "an access may leave its buffer"),
    (f"{I}.3.out.buffer", 4, "read before it is written"),
    # scatter_add
    (f"{I}.4.table.buffer", 3, "an access may leave its buffer"),
    (f"{I}.4.axis_stride", 1, "may reach an element twice"),
    (f"{I}.4.source.buffer", 1, "an access may leave its buffer"),
    # kernel: literals
    (f"{I}.5.body.0.value", None, "literal None is no float32"),
    (f"{I}.5.body.0.value", "zero", "literal 'zero' is no float32"),
    (f"{I}.5.body.0.op", "index", "index 0.0 is no axis of 2"),
    (f"{I}.5.body.0.op", "size", "size 0.0 is no int64 size"),
    (f"{I}.5.body.0.args", [0], "literal takes no arguments"),
    (f"{I}.5.body.4.value", 2**31, "literal 2147483648 is no int32"),
    # kernel_batch
    (f"{I}.6.columns.0.strides", ["batch"], "a column has no one stride"),
    (f"{I}.6.columns.0.strides", [-1], "a column has no one stride"),
    (f"{I}.6.columns.0.offset", 2, "an access may leave its buffer"),
    (f"{I}.6.columns.0.buffer", 3, "'w' is read by all and written"),
    (f"{I}.6.results", [5], "a result does not exist"),
    (f"{I}.6.results", [1], "the results' dtypes are not those of the written buffers"),
    (f"{I}.6.results", [4, 4], "the results' dtypes are not those of the written buffers"),
    (f"{I}.6.segments", [], "it has no segments"),
    (f"{I}.6.segments.0.size", 7, "an access may leave its buffer"),
    (f"{I}.6.segments.0.size", 0, "extent 0 is not certainly 1 or more"),
    (f"{I}.6.segments.0.writes", [4], "an access may leave its buffer"),
    (f"{I}.6.segments.0.writes", [7], "segment 0 writes no variable"),
    (f"{I}.6.segments.0.group", 1, "the group of a segment is no int32 variable"),
    (f"{I}.6.segments.0.group", 99, "buffer 99 does not exist"),
    (f"{I}.6.when", 5, "`when` is no bool scalar"),
    # copy and print
    (f"{I}.7.source.buffer", 1, "an access may leave its buffer"),
    (f"{I}.7.source.buffer", 5, "an access may leave its buffer"),
    (f"{I}.7.to.buffer", 0, "buffer 0 is written, but it is a feed"),
    (f"{I}.7.to.strides", [0], "may reach an element twice"),
    (f"{I}.8.text", "x\n", "holds characters that cannot be printed"),
    (f"{I}.8.text", "{:d}", "the format 'd' is for integers"),
]

IDS = [f"{path}={value!r:.30}" for path, value, _ in CORRUPTIONS]


@pytest.mark.parametrize(("path", "value", "text"), CORRUPTIONS, ids=IDS)
def test_corrupted_document_is_refused(path, value, text):
    assert text in reason(changed(path, value))


def test_reason_names_the_program_and_the_instruction():
    assert reason(changed(f"{I}.2.inner", 3)).startswith("program 'train', instruction 2 (kernel): ")


def leaves(node, path=()):
    """The paths of all numbers and texts of a tree, and of its lists."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in items:
        yield (*path, key)
        yield from leaves(child, (*path, key))


TREE = msgspec.json.decode(msgspec.json.encode(everything()))
NUMBERS = st.sampled_from([-(2**62), -7, -1, 0, 1, 2, 3, 5, 6, 7, 9, 12, 100, 2**31, 2**62])
TEXTS = st.sampled_from(
    ["", "w", "lr", "batch", "2*batch", "-batch + 9", "add", "float64", "bool", "arena", "x"]
)


@given(st.data())
@settings(max_examples=400)
def test_mutated_document_is_refused_or_runs_inside_of_its_memory(data):
    """NumPy refuses views that leave their memory, so a proof that is wrong shows as another error."""
    tree = copy.deepcopy(TREE)
    paths = [path for path in leaves(tree) if path != ("programs",)]
    for path in data.draw(st.lists(st.sampled_from(paths), min_size=1, max_size=3)):
        place = tree
        for part in path[:-1]:
            place = place[part] if isinstance(place, list | dict) and _has(place, part) else None
        if isinstance(place, list | dict) and _has(place, path[-1]):
            place[path[-1]] = data.draw(st.one_of(NUMBERS, TEXTS, st.just([])))
    try:
        made = msgspec.convert(tree, schema.Document)
        run(made)
    except (LazyflowError, msgspec.ValidationError):
        return


def _has(place, part):
    return part in place if isinstance(place, dict) else isinstance(part, int) and part < len(place)


# --- what single fields cannot show -------------------------------------------------------------------------


def test_what_can_fail_stands_before_the_first_change_of_a_variable():
    p = Program()
    index, w = p.feed("index", ("batch",), "int64"), p.variable("w", ())
    p.kernel([w], [call("neg", 0)], [(1, w)])
    p.add(schema.Check(space=("batch",), size=3, index=index.access()))
    assert "it may fail after a variable is changed" in reason(document(p, variables=[variable("w")]))


def looked_up_twice(space, strides, size, offset=0, overwritten=False):
    """An index is checked, then a variable changes, then a part of the index is checked again."""
    p = Program()
    given, w = p.feed("index", ("batch", 2), "int64"), p.variable("w", (), "int64")
    index = p.arena(("batch", 2), "int64")
    p.kernel([given], [], [(0, index)])
    p.add(schema.Check(space=("batch", 2), size=3, index=index.access()))
    p.kernel([w], [call("neg", 0, dtype="int64")], [(1, w)])
    if overwritten:
        p.kernel([given], [call("neg", 0, dtype="int64")], [(1, index)])
    p.add(schema.Check(space=space, size=size, index=index.access(strides, offset)))
    return document(p, variables=[variable("w", (), "int64", 0)])


@pytest.mark.parametrize(
    ("space", "strides", "size"),
    [
        (("batch", 2), (2, 1), 3),
        ((2, "batch"), (1, 2), 4),
        (("2*batch",), (1,), 3),
        (("batch", 7, 2), (2, 0, 1), 3),
    ],
)
def test_index_that_was_checked_before_cannot_fail_later(space, strides, size):
    verify(looked_up_twice(space, strides, size))


def test_index_that_was_not_checked_as_it_is_used_may_fail():
    text = "it may fail after a variable is changed"
    assert text in reason(looked_up_twice(("batch", 2), (2, 1), 2))  # against a smaller axis
    other = looked_up_twice(("batch",), (2,), 3, offset=1)
    assert text in reason(other)  # not proven: another set of elements
    assert text in reason(looked_up_twice(("batch", 2), (2, 1), 3, overwritten=True))  # other numbers since


def sharing(second_offset, size=4):
    """a, then b in the same slot, then a is read."""
    p = Program(dimensions=())
    a = p.arena((size,))
    p.slots[0] = 64
    b, y = p.arena((size,), slot=0, offset=second_offset), p.arena((size,))
    p.kernel([], [literal(1.0)], [(0, a)], space=(size,))
    p.kernel([], [literal(2.0)], [(0, b)], space=(size,))
    p.kernel([a], [], [(0, y)])
    p.fetch("y", y)
    return document(p)


def test_memory_that_was_reused_is_not_read():
    assert "buffer 0 is read before it is written, or after its memory was reused" in reason(sharing(12))
    verify(sharing(16))


def test_fetch_of_reused_memory_is_refused():
    p = Program(dimensions=())
    a = p.arena((4,))
    b = p.arena((4,), slot=0)
    p.kernel([], [literal(1.0)], [(0, a)], space=(4,))
    p.kernel([], [literal(2.0)], [(0, b)], space=(4,))
    p.fetch("a", a)
    assert "buffer 0 is read before it is written" in reason(document(p))


def in_place(strides, offset=0):
    p = Program(dimensions=())
    x, a, b = p.feed("x", (4, 4)), p.arena((4, 4)), p.arena((4, 4), slot=0)
    p.kernel([x], [], [(0, a)])
    p.kernel([a.access(strides, offset)], [call("neg", 0)], [(1, b)], space=(4, 4))
    p.fetch("y", b)
    return document(p)


def test_kernel_may_write_where_it_reads_the_same_element():
    verify(in_place((4, 1)))


@pytest.mark.parametrize("strides", [(1, 4), (4, 0), (0, 1)])
def test_kernel_may_not_write_over_what_it_reads_elsewhere(strides):
    assert "it writes buffer 2 over buffer 1, which it reads" in reason(in_place(strides))


def test_matmul_may_not_write_over_its_operands():
    p = Program(dimensions=())
    a = p.arena((2, 2))
    out = p.arena((2, 2), slot=0)
    p.kernel([], [literal(1.0)], [(0, a)], space=(2, 2))
    p.add(schema.MatMul(batch=(), m=2, n=2, k=2, a=a.access(), b=a.access(), out=out.access()))
    assert "it writes buffer 1 over buffer 0, which it reads" in reason(document(p))


def test_two_writes_of_a_kernel_may_not_overlap():
    p = Program(dimensions=())
    x, a = p.feed("x", (4,)), p.arena((8,))
    halves = [a.access((1,)), a.access((1,), offset=4)]
    p.kernel([x], [call("neg", 0)], [(0, halves[0]), (1, halves[1])])
    verify(document(p))
    p.kernel([x], [call("neg", 0)], [(0, halves[0]), (1, a.access((1,), offset=3))])
    assert "two of its writes overlap, in buffer 1" in reason(document(p))


def segments(*pairs):
    """A batched update of variables a and b; pairs are (what a segment reads, what it writes)."""
    p = Program(dimensions=())
    numbers = {name: p.variable(name, (2,)).buffer for name in "ab"}
    group = p.variable("g", (), "int32")
    made = tuple(
        schema.Segment(size=2, reads=(numbers[read],), writes=(numbers[write],), group=group.buffer)
        for read, write in pairs
    )
    p.add(schema.KernelBatch(columns=(), body=(call("neg", 0),), results=(1,), segments=made))
    return document(p, variables=[variable("a", (2,)), variable("b", (2,)), variable("g", (), "int32", 0)])


def test_segments_are_independent():
    verify(segments("aa", "bb"))
    assert "'a' is written twice" in reason(segments("aa", "ba"))
    assert "segment 1 reads 'a', which another segment writes" in reason(segments("aa", "ab"))


def test_program_may_not_change_the_groups_that_it_uses():
    p = Program(dimensions=())
    w, g = p.variable("w", (2,)), p.variable("g", (), "int32")
    p.kernel([], [literal(9, "int32")], [(0, g)], space=())
    segment = schema.Segment(size=2, reads=(w.buffer,), writes=(w.buffer,), group=g.buffer)
    p.add(schema.KernelBatch(columns=(), body=(call("neg", 0),), results=(1,), segments=(segment,)))
    variables = [variable("w", (2,)), variable("g", (), "int32", 0)]
    assert "program 'train' changes" not in reason(document(p, variables=variables))
    assert "program 'main' changes the group indices ['g']" in reason(document(p, variables=variables))


def test_slot_of_a_named_dimension_is_shared_where_one_is_the_largest():
    p = Program()
    x = p.feed("x", ("batch",))
    a = p.arena(("batch",))
    b, y = p.arena(("batch",), slot=0), p.arena(("batch",))
    p.kernel([x], [call("neg", 0)], [(1, a)], space=("batch",))
    p.kernel([a], [call("neg", 0)], [(1, b)])
    p.kernel([b], [call("neg", 0)], [(1, y)])
    p.fetch("y", y)
    verify(document(p))


def test_slice_with_a_negative_step_is_inside():
    p = Program(dimensions=())
    x, y = p.feed("x", (6,)), p.arena((3,))
    p.kernel([x.access((-2,), offset=5)], [], [(0, y)], space=(3,))
    verify(document(p))
    p.kernel([x.access((-2,), offset=3)], [], [(0, y)], space=(3,))
    assert "elements -1 to 3 of buffer 0" in reason(document(p))


def test_write_through_an_injective_permutation_is_accepted():
    p = Program()
    x, y = p.feed("x", ("batch", 3, 5)), p.arena((5, "batch", 3))
    p.kernel([x], [], [(0, y.access((3, 1, "3*batch")))])
    p.fetch("y", y)
    made = plan(p).session("numpy")
    a = np.arange(30, dtype=np.float32).reshape(2, 3, 5)
    np.testing.assert_array_equal(made.run("main", x=a)["y"], a.transpose(2, 0, 1))
