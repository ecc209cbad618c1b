"""place_buffers: what shares memory, what must not, and how close the arena is to the least there can be."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lazyflow.compiler import primitives as p
from lazyflow.compiler.graph import Layout, make
from lazyflow.compiler.passes.batch_updates import batch_updates
from lazyflow.compiler.passes.fuse import fuse
from lazyflow.compiler.passes.order import order
from lazyflow.compiler.passes.place_buffers import place_buffers
from lazyflow.compiler.pipeline import compile_graph
from lazyflow.compiler.placement.arena import SMALL, Span, lower_bound, place
from lazyflow.compiler.placement.layout import dense, is_dense, viewed
from lazyflow.compiler.placement.lifetimes import Lifetimes
from lazyflow.compiler.text import from_text, to_text
from lazyflow.runtime.dimensions import evaluate, named
from lazyflow.runtime.plan import Plan
from strategies import cases

BATCH = named("batch")


def placed(text, merge=False):
    """The placement of the program main."""
    return _placed(from_text(text), merge).programs["main"].placement


def _placed(graph, merge=False):
    return place_buffers(order(batch_updates(fuse(graph, merge), merge)))


def arena(placement):
    """Slot and offset of the arena's buffers, in order."""
    return [(b.slot, b.offset) for b in placement.buffers if b.place == "arena"]


# --- what shares memory -----------------------------------------------------------------------------------

CHAIN = """
    %0 = placeholder name=x : float32[100, 100]
    %1 = matmul %0 %0 : float32[100, 100]
    %2 = matmul %1 %0 : float32[100, 100]
    %3 = matmul %2 %0 : float32[100, 100]
    %4 = matmul %3 %0 : float32[100, 100]
    %5 = reduce_sum %4 axes=(0, 1) keepdims=False : float32[]
    fetch y = %5"""


def test_a_chain_of_products_takes_two_places_in_turn():
    placement = placed(CHAIN)
    one, two, three, four, _ = arena(placement)
    assert (one, two) == (three, four)
    assert one != two
    assert placement.lower_bound == [80000]


def test_a_fetch_keeps_its_memory():
    placement = placed(CHAIN + "\nfetch first = %1")
    places = arena(placement)[:4]
    assert places.count(places[0]) == 1


def test_an_elementwise_result_takes_the_memory_of_what_it_replaces():
    graph = _placed(
        from_text("""
            %0 = placeholder name=x : float32[8, 8]
            %1 = matmul %0 %0 : float32[8, 8]
            %2 = exp %1 : float32[8, 8]
            %3 = neg %2 : float32[8, 8]
            fetch y = %3""")
    )
    assert len(set(arena(graph.programs["main"].placement))) == 1
    reasons = [reason for reason in graph.reasons if reason.decision == "place_buffers"]
    assert [reason.code for reason in reasons] == ["in_place", "in_place"]
    assert reasons[0].text == "takes the memory of matmul, which is not needed any more"


@pytest.mark.parametrize(
    ("line", "shares"),
    [
        ("%3 = exp %2 : float32[8, 8]", True),
        ("%3 = add %2 %0 : float32[8, 8]", True),
        ("%3 = isfinite %2 : bool[8, 8]", False),
        ("%3 = cast %2 : int32[8, 8]", True),
        ("%3 = transpose %2 axes=(1, 0) : float32[8, 8]\n%4 = add %3 %2 : float32[8, 8]", False),
        ("%3 = slice %2 starts=(1, 0) sizes=(1, 8) steps=(1, 1)\n%4 = add %2 %3 : float32[8, 8]", False),
        ("%3 = reduce_sum %2 axes=(0,) keepdims=True : float32[1, 8]", False),
        ("%3 = broadcast_to %2 : float32[2, 8, 8]\n%4 = exp %3 : float32[2, 8, 8]", False),
        ("%3 = reshape %2 : float32[64]\n%4 = exp %3 : float32[64]", True),
        ("%3 = exp %2 : float32[8, 8]\nfetch old = %2", False),
    ],
    ids=[
        "map",
        "two inputs",
        "other itemsize",
        "other dtype",
        "also read another way",
        "also read in part",
        "reduction",
        "read several times",
        "through a view",
        "needed later",
    ],
)
def test_only_what_reads_an_element_where_it_writes_it_is_in_place(line, shares):
    last = "%4" if "%4" in line else "%3"
    placement = placed(f"""
        %0 = placeholder name=x : float32[8, 8]
        %1 = placeholder name=y : float32[8, 8]
        %2 = matmul %0 %1 : float32[8, 8]
        {line}
        fetch y = {last}""")
    places = arena(placement)
    assert (places[0] == places[-1]) is shares


ROWS = """
    %0 = placeholder name=x : float32[batch, 8]
    %1 = variable name=w : float32[8, 8]
    %2 = matmul %0 %1 : float32[batch, 8]
    {}
    fetch y = %5
    fetch z = %3"""


def test_a_kernel_over_rows_is_in_place_in_its_last_walk_only():
    early = ROWS.format("""
        %3 = exp %2 : float32[batch, 8]
        %4 = reduce_sum %3 axes=(1,) keepdims=True : float32[batch, 1]
        %5 = div %2 %4 : float32[batch, 8]""")
    program = _placed(from_text(early), merge=True).programs["main"]
    (kernel,) = [op for op in program.order if op.primitive is p.kernel]
    exp, quotient = kernel.outputs
    # exp is written in the walk that sums it, and the walk that divides reads the product once more
    assert Lifetimes(program).in_place == {quotient: kernel.inputs[0]}
    assert program.placement.layouts[exp].buffer != program.placement.layouts[quotient].buffer


def test_a_next_value_is_made_in_its_variable():
    placement = placed(
        """
        %0 = variable name=average : float32[4]
        %1 = placeholder name=x : float32[4]
        %2 = constant value=0.5 : float32[]
        %3 = sub %1 %0 : float32[4]
        %4 = mul %3 %2 : float32[4]
        %5 = add %0 %4 : float32[4]
        assign name=average %5""",
        merge=True,
    )
    assert not arena(placement)
    assert not placement.slots


@pytest.mark.parametrize(
    "text",
    [
        """%2 = neg %0 : float32[4]
           %3 = assign name=w %2 : float32[4]
           %4 = sub %3 %0 : float32[4]""",
        """%2 = neg %1 : float32[4]
           assign name=w %2 when %on
           %4 = exp %1 : float32[4]""",
        """%2 = exp %0 : float32[4]
           %r = slice %2 starts=(3,) sizes=(4,) steps=(-1,)
           assign name=w %r
           %4 = exp %1 : float32[4]""",
        """%r = slice %0 starts=(3,) sizes=(4,) steps=(-1,)
           %2 = exp %r : float32[4]
           assign name=w %2
           %4 = exp %1 : float32[4]""",
        """%2 = exp %1 : float32[4]
           %i = check_index %index size=3 : int64[4]
           assign name=w %2
           %c = cast %i : float32[4]
           %4 = add %c %2 : float32[4]""",
    ],
    ids=["old value needed later", "guarded", "stored otherwise", "read otherwise", "can fail later"],
)
def test_a_next_value_is_not_made_in_its_variable_too_early(text):
    text = f"""
        %0 = variable name=w : float32[4]
        %1 = placeholder name=x : float32[4]
        %on = placeholder name=on : bool[]
        %index = placeholder name=index : int64[4]
        {text}
        fetch y = %4"""
    program = _placed(from_text(text)).programs["main"]
    assert not Lifetimes(program).assigned


def test_equal_constants_are_one():
    placement = placed("""
        %0 = constant value=[1.0, 2.0] : float32[2]
        %1 = constant value=[1.0, 2.0] : float32[2]
        %2 = constant value=[1.0, 3.0] : float32[2]
        fetch a = %0
        fetch b = %1
        fetch c = %2""")
    assert [buffer.name for buffer in placement.buffers] == ["constant_0", "constant_0", "constant_1"]


# --- views ------------------------------------------------------------------------------------------------


def test_views_take_no_memory():
    placement = placed("""
        %0 = placeholder name=x : float32[batch, 6]
        %1 = transpose %0 axes=(1, 0) : float32[6, batch]
        %2 = slice %1 starts=(4, 0) sizes=(3, batch) steps=(-2, 1) : float32[3, batch]
        %3 = broadcast_to %2 : float32[2, 3, batch]
        fetch y = %3""")
    assert [buffer.place for buffer in placement.buffers] == ["feed"]
    assert str(list(placement.layouts.values())[-1]) == "Layout(buffer=0, offset=4, strides=(0, -2, 6))"


SHAPES = [(4, 6), (2, 3, 4), (24,), (4, 1, 6), (1, 2, 12), (3, 2, 2, 2), (8, 3)]


@given(st.data())
def test_layouts_of_views_are_those_of_numpy(data):
    shape = data.draw(st.sampled_from(SHAPES))
    array = np.arange(24).reshape(shape)
    layout = Layout(0, 0, dense(shape))
    for _ in range(data.draw(st.integers(1, 4))):
        op, result = _a_view(data, array)
        layout = viewed(op, layout)
        if layout is None:
            assert not np.shares_memory(result, array)
            return
        array = result
        assert _read(layout, array.shape).tolist() == array.tolist()


def _a_view(data, array):
    """A view of a tensor of the array's shape, and what it gives of the array."""
    shape = array.shape
    value = make(p.placeholder, (), {"name": "x", "shape": shape, "dtype": array.dtype}).output
    kind = data.draw(st.sampled_from(["transpose", "reshape", "slice", "broadcast_to"]))
    if kind == "transpose":
        axes = tuple(data.draw(st.permutations(range(len(shape)))))
        return make(p.transpose, [value], {"axes": axes}), array.transpose(axes)
    if kind == "reshape":
        shapes = [s for s in [*SHAPES, (array.size,), (*shape, 1)] if np.prod(s) == array.size]
        target = data.draw(st.sampled_from(shapes))
        return make(p.reshape, [value], {"shape": target}), array.reshape(target)
    if kind == "slice":
        parts = [range(n)[data.draw(st.slices(n))] or range(n) for n in shape]
        sizes, steps = tuple(len(part) for part in parts), tuple(part.step for part in parts)
        attributes = {"starts": tuple(part[0] for part in parts), "sizes": sizes, "steps": steps}
        return make(p.slice_, [value], attributes), _sliced(array, parts)
    target = (2, *shape)
    return make(p.broadcast_to, [value], {"shape": target}), np.broadcast_to(array, target)


def _sliced(array, parts):
    for axis, part in enumerate(parts):
        index = [slice(None)] * array.ndim
        stop = part[-1] + part.step
        index[axis] = slice(part[0], stop if stop >= 0 else None, part.step)
        array = array[tuple(index)]
    return array


def _read(layout, shape):
    memory = np.arange(24)
    positions = np.full(shape, layout.offset)
    for axis, stride in enumerate(layout.strides):
        extent = np.arange(shape[axis]).reshape([-1 if a == axis else 1 for a in range(len(shape))])
        positions = positions + extent * stride
    return memory[positions]


def test_dense_strides_do_not_matter_where_there_is_one_element():
    assert is_dense((3, 1, BATCH), (BATCH, 77, 1))
    assert not is_dense((3, 2), (1, 3))


# --- the arena --------------------------------------------------------------------------------------------


@st.composite
def spans(draw, names=True):
    sizes = [8, 64, 100, SMALL + 8, 10000, 70000]
    sizes += [
        8 * BATCH,
        64 * BATCH,
        4 * BATCH + 100,
        4 * named("length"),
        2 * BATCH * named("length"),
    ] * names
    firsts = sorted(draw(st.lists(st.integers(0, 30), max_size=40)))
    return [
        Span(draw(st.sampled_from(sizes)), first, first + draw(st.sampled_from([0, 1, 2, 5, 30])))
        for first in firsts
    ]


@given(spans(), st.integers(1, 50), st.integers(1, 50))
@settings(max_examples=300)
def test_what_lives_at_the_same_time_shares_no_byte(spans, batch, length):
    values = {"batch": batch, "length": length}
    places, slots = place(spans)
    ranges = []
    for span, (slot, offset) in zip(spans, places, strict=True):
        end = offset + evaluate(span.size, values)
        assert offset % 64 == 0
        assert end <= evaluate(slots[slot], values)
        ranges.append((slot, offset, end))
    for n, (span, (slot, start, end)) in enumerate(zip(spans, ranges, strict=True)):
        for other, (other_slot, other_start, other_end) in zip(spans[:n], ranges, strict=False):
            if slot == other_slot and span.first <= other.last and other.first <= span.last:
                assert end <= other_start or other_end <= start


@given(spans(), st.integers(1, 200), st.integers(1, 200))
@settings(max_examples=300)
def test_the_bound_is_the_most_that_lives_at_once(spans, batch, length):
    values = {"batch": batch, "length": length}
    points = range(62)
    alive = [sum(evaluate(s.size, values) for s in spans if s.first <= n <= s.last) for n in points]
    bounds = [evaluate(size, values) for size in lower_bound(spans, 61)]
    assert max(bounds, default=0) == max(alive)


@given(spans(names=False))
@settings(max_examples=100)
def test_static_buffers_come_close_to_the_bound(spans):
    _, slots = place(spans)
    assert sum(slots) <= 1.5 * max(lower_bound(spans, 61), default=0) + SMALL + 64 * len(spans)


def test_a_slot_grows_where_one_buffer_is_provably_the_largest():
    small, large, other = 8 * BATCH, 64 * BATCH, 100 + 4 * BATCH
    places, slots = place([Span(small, 0, 0), Span(large, 1, 1), Span(small, 2, 2)])
    assert (places, slots) == ([(0, 0)] * 3, [large])
    _, slots = place([Span(small, 0, 0), Span(other, 1, 1)])
    assert slots == [small, other]  # 8*batch is the larger for batch > 25


def test_a_bound_that_another_exceeds_for_all_sizes_is_left_out():
    spans = [Span(8 * BATCH, 0, 1), Span(8 * BATCH, 1, 1), Span(1000, 2, 2)]
    assert lower_bound(spans, 3) == [16 * BATCH, 1000]


# --- whole programs ---------------------------------------------------------------------------------------


@given(cases(odd=False), st.booleans())
@settings(max_examples=100)
def test_stale_memory_changes_no_number(case, merge):
    skip = () if merge else ("fuse", "batch_updates")
    plan = Plan(*compile_graph(case.graph, skip))
    for program in plan.document.programs:
        feeds = {feed.name: case.feeds[feed.name] for feed in program.feeds}
        outcomes = []
        for filling in (0, 255):
            session = plan.session(backend="numpy")
            session.run(program.name, feeds)  # makes the arena
            session.backend.arena[:] = filling
            names = {variable.name for variable in plan.document.variables}
            session.load_state_dict({name: value for name, value in case.state.items() if name in names})
            outcomes.append((session.run(program.name, feeds), session.state_dict()))
        for one, other in zip(*outcomes, strict=True):
            assert {name: value.tobytes() for name, value in one.items()} == {
                name: value.tobytes() for name, value in other.items()
            }


@given(cases())
@settings(max_examples=50)
def test_placing_twice_gives_the_same(case):
    graph = order(batch_updates(fuse(case.graph)))
    before = to_text(graph)
    once = place_buffers(graph)
    assert to_text(place_buffers(once)) == to_text(once)
    assert to_text(graph) == before
