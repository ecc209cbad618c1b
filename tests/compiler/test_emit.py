"""emit: the document that says what the graph says, in the words of the plan."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lazyflow.compiler.passes.batch_updates import batch_updates
from lazyflow.compiler.passes.emit import emit
from lazyflow.compiler.passes.fuse import fuse
from lazyflow.compiler.passes.order import order
from lazyflow.compiler.passes.place_buffers import place_buffers
from lazyflow.compiler.text import from_text
from lazyflow.runtime import schema
from lazyflow.runtime.errors import GraphError
from lazyflow.runtime.verify import verify, verify_arrays
from strategies import cases


def finished(graph, merge=True):
    return place_buffers(order(batch_updates(fuse(graph, merge), merge)))


def document(text, merge=True):
    """The verified document of a text."""
    result, arrays = emit(finished(from_text(text, "small"), merge))
    verify(result)
    verify_arrays(result.constants, arrays, "constant")
    return result


def instructions(text, merge=False):
    return document(text, merge).programs[0].instructions


def as_json(struct):
    return msgspec.json.decode(msgspec.json.encode(struct))


# --- whole documents --------------------------------------------------------------------------------------

TRAIN = """
    body descent
      %0 = placeholder name=p : float32[n]
      %1 = placeholder name=g : float32[n]
      %2 = placeholder name=lr : float64[]
      %3 = cast %2 : float32[]
      %4 = mul %1 %3 : float32[n]
      %5 = sub %0 %4 : float32[n]
      fetch p = %5
    end
    var name=w trainable=True initial=0.5 : float32[3]
    var name=group trainable=False initial=0 : int32[]
    %0 = placeholder name=x : float32[batch, 3]  # x train.py:1
    %1 = constant value=[0.5, 0.25] : float64[2]
    %2 = reduce_sum %0 axes=(0,) keepdims=False : float32[3]  # sum train.py:2
    %3 = variable name=group : int32[]
    program train
    update body=descent variables=(w,) elements=1 %2 %3 %1  # descent/w train.py:3
    fetch total = %2
"""

TRAIN_DOCUMENT = {
    "name": "small",
    "variables": [
        {"name": "w", "dtype": "float32", "shape": [3], "trainable": True, "initial": 0.5},
        {"name": "group", "dtype": "int32", "shape": []},
    ],
    "constants": [{"name": "constant_0", "dtype": "float64", "shape": [2]}],
    "programs": [
        {
            "name": "train",
            "dimensions": ["batch"],
            "feeds": [
                {
                    "name": "x",
                    "dtype": "float32",
                    "shape": ["batch", 3],
                    "buffer": 0,
                    "location": "train.py:1",
                }
            ],
            "fetches": [
                {
                    "name": "total",
                    "dtype": "float32",
                    "shape": [3],
                    "source": {"buffer": 3, "strides": [1]},
                }
            ],
            "buffers": [
                {"dtype": "float32", "size": "3*batch", "place": "feed", "name": "x"},
                {"dtype": "float64", "size": 2, "place": "constant", "name": "constant_0"},
                {"dtype": "int32", "size": 1, "place": "variable", "name": "group"},
                {"dtype": "float32", "size": 3, "place": "arena"},
                {"dtype": "float32", "size": 3, "place": "variable", "name": "w"},
            ],
            "instructions": [
                {
                    "kind": "kernel",
                    "origin": [0],
                    "space": [3, "batch"],
                    "inner": 1,
                    "reads": [{"buffer": 0, "strides": [1, 3]}],
                    "body": [{"op": "reduce_sum", "args": [0], "dtype": "float32"}],
                    "writes": [{"value": 1, "to": {"buffer": 3, "strides": [1, 0]}}],
                },
                {
                    "kind": "kernel_batch",
                    "origin": [1],
                    "columns": [{"buffer": 1, "strides": [1]}],
                    "body": [
                        {"op": "cast", "args": [2], "dtype": "float32"},
                        {"op": "mul", "args": [1, 3], "dtype": "float32"},
                        {"op": "sub", "args": [0, 4], "dtype": "float32"},
                    ],
                    "results": [5],
                    "segments": [{"size": 3, "reads": [4, 3], "writes": [4], "group": 2}],
                },
            ],
            "slots": [12],
            "lower_bound": [12],
        }
    ],
    "origins": [
        {"name": "sum", "location": "train.py:2"},
        {"name": "descent/w", "location": "train.py:3"},
    ],
    "reasons": [
        {
            "decision": "batch_updates",
            "code": "alone",
            "text": "no other update shares the rule descent, its numbers and its guard",
            "about": "descent/w",
        }
    ],
}


def test_a_training_program_is_written_in_full():
    assert as_json(document(TRAIN)) == TRAIN_DOCUMENT


def test_a_row_kernel_is_written_in_full():
    (kernel,) = instructions(
        """
        %0 = placeholder name=x : float32[batch, 10]
        %1 = reduce_max %0 axes=(1,) keepdims=True : float32[batch, 1]
        %2 = sub %0 %1 : float32[batch, 10]
        fetch y = %2""",
        merge=True,
    )
    assert as_json(kernel) == {
        "kind": "kernel",
        "space": ["batch", 10],
        "inner": 1,
        "reads": [{"buffer": 0, "strides": [10, 1]}],
        "body": [
            {"op": "reduce_max", "args": [0], "dtype": "float32"},
            {"op": "sub", "args": [0, 1], "dtype": "float32"},
        ],
        "writes": [{"value": 2, "to": {"buffer": 1, "strides": [10, 1]}}],
    }


def test_the_document_reads_back_from_json():
    result = document(TRAIN)
    assert msgspec.json.decode(msgspec.json.encode(result), type=schema.Document) == result


# --- each kind of instruction -----------------------------------------------------------------------------


def test_a_product_reads_its_operands_through_their_views():
    (product,) = instructions("""
        %0 = placeholder name=a : float32[batch, 4]
        %1 = placeholder name=b : float32[5, batch, 3]
        %2 = transpose %0 axes=(1, 0) : float32[4, batch]
        %3 = matmul %2 %1 : float32[5, 4, 3]
        fetch y = %3""")
    assert as_json(product) == {
        "kind": "matmul",
        "batch": [5],
        "m": 4,
        "n": 3,
        "k": "batch",
        "a": {"buffer": 0, "strides": [0, 1, 4]},
        "b": {"buffer": 1, "strides": ["3*batch", 3, 1]},
        "out": {"buffer": 2, "strides": [12, 3, 1]},
    }


def test_a_turned_product_is_stored_with_other_strides():
    (product,) = instructions(
        """
        %0 = placeholder name=a : float32[2, 4, 5]
        %1 = placeholder name=b : float32[2, 5, 3]
        %2 = matmul %0 %1 : float32[2, 4, 3]
        %3 = transpose %2 axes=(1, 0, 2) : float32[4, 2, 3]
        fetch y = %3""",
        merge=True,
    )
    assert (product.batch, product.m, product.n, product.k) == ((2,), 4, 3, 5)
    assert product.out.strides == (3, 6, 1)


@pytest.mark.parametrize(
    ("axis", "along", "index", "table_strides", "index_strides"),
    [
        (0, False, "int64[batch]", (0, 3, 1), (1, 0, 0)),
        (1, False, "int64[7, 2]", (12, 0, 0, 1), (0, 2, 1, 0)),
        (1, True, "int64[5, 2, 3]", (12, 0, 1), (6, 3, 1)),
    ],
)
def test_a_gather_walks_the_table_but_for_the_axis_of_the_index(
    axis, along, index, table_strides, index_strides
):
    shape = "5, 4, 3"
    (gather,) = instructions(f"""
        %0 = placeholder name=table : float32[{shape}]
        %1 = placeholder name=index : {index}
        %2 = gather %0 %1 axis={axis} along={along}
        fetch y = %2""")
    assert gather.table.strides == table_strides
    assert gather.index.strides == index_strides
    assert (gather.axis_size, gather.axis_stride) == [(5, 12), (4, 3)][axis]


def test_a_scatter_writes_a_table_of_its_own():
    (scatter,) = instructions("""
        %0 = placeholder name=source : float32[batch, 3]
        %1 = placeholder name=index : int64[batch]
        %2 = scatter_add %0 %1 axis=0 along=False : float32[10, 3]
        fetch y = %2""")
    assert scatter.space == ("batch", 3)
    assert (scatter.axis_size, scatter.axis_stride) == (10, 3)
    assert scatter.table == schema.Access(buffer=2, strides=(0, 1))
    assert scatter.index == schema.Access(buffer=1, strides=(1, 0))


def test_a_concatenation_is_a_copy_per_part():
    first, second = instructions("""
        %0 = placeholder name=a : float32[batch, 3]
        %1 = placeholder name=b : float32[batch, 4]
        %2 = concat %0 %1 axis=1 : float32[batch, 7]
        fetch y = %2""")
    assert first.to == schema.Access(buffer=2, strides=(7, 1))
    assert second.to == schema.Access(buffer=2, offset=3, strides=(7, 1))
    assert second.space == ("batch", 4)


def test_padding_fills_and_copies():
    fill, copy = instructions("""
        %0 = placeholder name=x : int32[2, batch]
        %1 = pad %0 low=(1, 0) high=(0, 2) value=7 : int32[3, batch + 2]
        fetch y = %1""")
    assert fill.body == (schema.Call(op="literal", dtype="int32", value=7),)
    assert fill.space == (3, "batch + 2")
    assert copy.to == schema.Access(buffer=1, offset="batch + 2", strides=("batch + 2", 1))


def test_checks_and_prints():
    check, print_ = instructions("""
        %0 = placeholder name=i : int64[3, 2]
        %1 = transpose %0 axes=(1, 0) : int64[2, 3]
        %2 = check_index %1 size=5 : int64[2, 3]
        print text="i is" on_change=True %2""")
    assert (check.size, check.index) == (5, schema.Access(buffer=0, strides=(1, 2)))
    assert (print_.text, print_.on_change, print_.source) == ("i is", True, check.index)


def test_guards_name_their_buffer():
    copy = instructions("""
        %0 = placeholder name=x : float32[3]
        %1 = placeholder name=on : bool[]
        assign name=w %0 when %1""")[0]
    assert (copy.when, copy.to.buffer) == (1, 2)


@pytest.mark.parametrize(("groups", "copies"), [(1, 0), (2, 1)])
def test_a_column_that_repeats_one_number_has_a_row_per_group(groups, copies):
    column = f"%lr = variable name=lr : float64[]\n%1 = broadcast_to %lr : float64[{groups}]"
    text = TRAIN.replace("%1 = constant value=[0.5, 0.25] : float64[2]", column)
    steps = document(text).programs[0].instructions
    assert sum(isinstance(step, schema.Copy) for step in steps) == copies
    assert steps[-1].columns[0].strides == (1,)


def test_a_guard_that_is_a_part_of_something_is_copied():
    first, second = instructions("""
        %0 = placeholder name=x : float32[3]
        %1 = placeholder name=on : bool[4]
        %2 = slice %1 starts=(2,) sizes=(1,) steps=(1,)
        %3 = reshape %2 : bool[]
        assign name=w %0 when %3""")
    assert (first.source.offset, first.to.buffer) == (2, second.when)


def test_an_assignment_that_was_made_in_place_is_no_instruction():
    (kernel,) = instructions("""
        %0 = variable name=steps : int64[]
        %1 = constant value=1 : int64[]
        %2 = add %0 %1 : int64[]
        assign name=steps %2""")
    assert isinstance(kernel, schema.Kernel)
    assert kernel.reads[0].buffer == kernel.writes[0].to.buffer


@pytest.mark.parametrize(
    ("text", "number"),
    [("inf", "inf"), ("-inf", "-inf"), ("nan", "nan"), ("-0.0", -0.0), ("0.1", float(np.float32(0.1)))],
)
def test_numbers_are_written_as_they_are_kept(text, number):
    (kernel,) = instructions(f"""
        %0 = placeholder name=x : float32[3]
        %1 = constant value={text} : float32[]
        %2 = add %0 %1 : float32[3]
        fetch y = %2""")
    assert repr(kernel.body[0].value) == repr(number)


# --- tables -----------------------------------------------------------------------------------------------


def test_equal_origins_and_constants_stand_once():
    graph = from_text("""
        %0 = placeholder name=x : float32[3]
        %1 = exp %0 : float32[3]  # exp train.py:2
        %2 = constant value=[1.0, 2.0, 3.0] : float32[3]
        %3 = constant value=[1.0, 2.0, 3.0] : float32[3]
        %4 = add %1 %2 : float32[3]  # add train.py:3
        %5 = add %1 %3 : float32[3]  # add train.py:3
        program train
        fetch y = %4
        program evaluate
        fetch y = %5""")
    result, arrays = emit(finished(graph))
    assert [origin.location for origin in result.origins] == ["train.py:2", "train.py:3"]
    assert [constant.name for constant in result.constants] == list(arrays) == ["constant_0"]
    np.testing.assert_array_equal(arrays["constant_0"], np.array([1, 2, 3], np.float32))
    assert [step.origin for program in result.programs for step in program.instructions] == [(0, 1)] * 2


def test_feeds_are_in_the_order_of_the_graph_and_dimensions_sorted():
    program = document("""
        %0 = placeholder name=second : float32[z]
        %1 = placeholder name=first : float32[a, z]
        %2 = add %1 %0 : float32[a, z]
        fetch y = %2""").programs[0]
    assert [feed.name for feed in program.feeds] == ["second", "first"]
    assert program.dimensions == ("a", "z")


def test_all_variables_are_in_the_table():
    names = [
        v.name for v in document("var name=unused trainable=True initial=2 : float32[3]" + TRAIN).variables
    ]
    assert names == ["unused", "w", "group"]


def test_the_optimizers_travel_along():
    graph = from_text(TRAIN)
    graph.optimizers.append(schema.Optimizer(name="o", kind="SGD", groups=(), members={}, state={}))
    result, _ = emit(finished(graph))
    assert result.optimizers == tuple(graph.optimizers)


def test_a_graph_that_is_not_ready_is_refused():
    with pytest.raises(GraphError, match="emit: program main is not ordered and placed yet"):
        emit(fuse(from_text("%0 = placeholder name=x : float32[3]\nfetch y = %0")))


@given(cases(), st.booleans())
@settings(max_examples=100)
def test_every_document_verifies(case, merge):
    result, arrays = emit(finished(case.graph, merge))
    verify(result)
    verify_arrays(result.constants, arrays, "constant")
    assert msgspec.json.decode(msgspec.json.encode(result), type=schema.Document) == result
