"""The text form: it shows every op on one line, and reads back."""

import numpy as np
import pytest

from lazyflow.compiler import primitives
from lazyflow.compiler.graph import Graph, Origin, Program, Variable, make
from lazyflow.compiler.text import from_text, to_text
from lazyflow.runtime import dtypes
from lazyflow.runtime.errors import GraphError

ROUND_TRIPS = {
    "one program": """
%0 = placeholder name=x : float32[batch, 64]
%1 = variable name=w : float32[64, 10]
%2 = matmul %0 %1 : float32[batch, 10]
%3 = reduce_sum %2 axes=(0, 1) keepdims=False : float32[]
fetch loss = %3""",
    "numbers": """
%0 = constant value=[0.1, -0.0, nan, inf, -inf] : float32[5]
%1 = constant value=[[1, -2], [3, 4]] : int8[2, 2]
%2 = constant value=[True, False] : bool[2]
%3 = constant value=9007199254740993 : int64[]
%4 = constant value=0.1 : float64[]
%5 = constant value=1.5 : bfloat16[]
%6 = constant value=0.1 : float16[]
fetch a = %0""",
    "views and shapes": """
%0 = placeholder name=x : float32[batch, 2*batch + 1, 3]
%1 = reshape %0 : float32[6*batch*batch + 3*batch]
%2 = transpose %0 axes=(2, 0, 1) : float32[3, batch, 2*batch + 1]
%3 = slice %2 starts=(2, 0, 0) sizes=(2, batch, 2*batch + 1) steps=(-2, 1, 1) : float32[2, batch, 2*batch + 1]
%4 = broadcast_to %0 : float32[4, batch, 2*batch + 1, 3]
%5 = pad %0 low=(0, 0, 1) high=(0, 0, 0) value=-inf : float32[batch, 2*batch + 1, 4]
%6 = size size=(2*batch + 1) : int64[]
%7 = iota axis=0 : int32[5]
%8 = check_index %7 size=batch : int32[5]
fetch a = %8""",
    "two programs and guards": """
var name=w trainable=True initial=0.5 : float32[3]
%0 = placeholder name=g : float32[3]
%1 = placeholder name=ok : bool[]
%2 = variable name=w : float32[3]
%3 = add %2 %0 : float32[3]
program train
%4 = assign name=w %3 when %1 : float32[3]
print text="new {}" on_change=True %4 when %1
program show
assign name=w %2
program train
fetch w = %4
program show
fetch w = %2""",
    "programs in another order than their effects": """
program b
program a
%0 = variable name=w : float32[3]
assign name=w %0
program b
fetch w = %0""",
    "a feed that nothing uses": """
%0 = placeholder name=x : float32[batch]
%1 = size size=batch : int64[]
fetch rows = %1
feed %0""",
    "a program of nothing": """
program idle""",
    "odd names": """
%0 = placeholder name="my x" : float32[3]
%1 = variable name=encoder.0.weight/exp_avg : float32[3]
%2 = add %0 %1 : float32[3]
program "train it"
fetch "say \\"y\\"" = %2""",
    "an update with a body": """
body sgd
  %0 = placeholder name=p : float32[n]
  %1 = placeholder name=g : float32[n]
  %2 = placeholder name=lr : float64[]
  %3 = cast %2 : float32[]
  %4 = mul %1 %3 : float32[n]
  %5 = sub %0 %4 : float32[n]
  fetch p = %5
end
var name=w trainable=True initial=0 : float32[2, 3]
var name=w/group trainable=False initial=0 : int32[]
%0 = placeholder name=g : float32[2, 3]
%1 = placeholder name=lr : float64[1]
%2 = variable name=w/group : int32[]
update body=sgd variables=(w,) elements=1 %0 %2 %1""",
    "kernels": """
%0 = placeholder name=x : float32[batch, 64]
%1, %2 = kernel %0 space=(batch, 64) inner=1 body={1=literal value=2.0 :float32; 2=mul 0 1 :float32; \
3=reduce_sum 2 :float32; 4=size value="64*batch" :int64} maps=((0, 1), (0, 1), (0, -1)) results=(2, 3) : \
float32[batch, 64], float32[batch]
fetch y = %1
fetch total = %2""",
    "a batch of updates": """
var name=a trainable=True initial=0 : float32[2]
var name=b trainable=True initial=0 : float32[3]
%0 = placeholder name=lr : float32[1]
%1 = placeholder name=ga : float32[2]
%2 = placeholder name=gb : float32[3]
%3 = constant value=0 : int32[]
%4, %5 = update_batch body={3=mul 1 2 :float32; 4=sub 0 3 :float32} results=(4,) \
segments=(((a,), 2), ((b,), 3)) elements=1 columns=1 %0 %1 %3 %2 %3 : float32[2], float32[3]
fetch a = %4""",
    "order and placement": """
%0 = placeholder name=x : float32[batch]
%1 = exp %0 : float32[batch]
print text="" on_change=False %1
fetch y = %1
order %1 !0
slots (4*batch, 64) (4*batch,)
buffer place=feed name=x slot=0 offset=0 size=batch : float32
buffer place=arena slot=0 offset=0 size=batch : float32
at %0 buffer=0 offset=0 strides=(1,)
at %1 buffer=1 offset=0 strides=(1,)""",
}


@pytest.mark.parametrize("text", ROUND_TRIPS.values(), ids=ROUND_TRIPS)
def test_text_reads_back(text):
    assert to_text(from_text(text)) == text.strip()


def test_numbers_read_back_to_the_same_bits():
    values = np.random.default_rng(0).standard_normal(16)
    for dtype in (dtypes.float64, dtypes.float32, dtypes.float16, dtypes.bfloat16):
        graph = Graph()
        graph.append(make(primitives.constant, (), {"value": values.astype(dtype)}))
        (op,) = from_text(to_text(graph)).ops
        assert op.attributes["value"].tobytes() == values.astype(dtype).tobytes()


def test_large_constants_are_told_apart_by_a_hash_that_does_not_read():
    graph = Graph()
    for value in (np.arange(17), np.arange(17), np.arange(1, 18)):
        graph.append(make(primitives.constant, (), {"value": value}))
    one, same, other = (line.split("value=")[1] for line in to_text(graph).splitlines())
    assert one == same != other
    with pytest.raises(GraphError, match="line 1 does not read: the numbers of a large constant"):
        from_text(to_text(graph))


def test_bodies_of_one_name_are_told_apart_and_shared_by_identity():
    text = ROUND_TRIPS["an update with a body"].strip()
    graph = from_text(text)
    (update,) = graph.programs["main"].effects
    graph.programs["main"].effects.append(
        graph.append(make(update.primitive, update.inputs, update.attributes))
    )
    other = from_text(text).ops[-1].attributes["body"]
    attributes = update.attributes | {"body": other}
    graph.programs["main"].effects.append(graph.append(make(update.primitive, update.inputs, attributes)))
    lines = to_text(graph).splitlines()
    assert [line for line in lines if line.startswith("body")] == ["body sgd", "body sgd.1"]
    bodies = [op.attributes["body"] for op in from_text(to_text(graph)).programs["main"].effects]
    assert bodies[0] is bodies[1] is not bodies[2]


def test_origins_are_shown_and_read_on_request():
    text = "var name=w trainable=True initial=0 : float32[2]  # w net.py:3\n"
    text += "%0 = variable name=w : float32[2]\n%1 = exp %0 : float32[2]  # y train.py:12, z train.py:13"
    graph = from_text(text)
    assert graph.variables[0].location == "net.py:3"
    assert graph.ops[1].origins == (Origin("y", "train.py:12"), Origin("z", "train.py:13"))
    assert to_text(graph, origins=True) == text
    assert "#" not in to_text(graph)


def test_an_effect_is_shown_with_its_result_where_that_is_used():
    graph = Graph("g", variables=[Variable("w", (), dtypes.float32)])
    old = graph.append(make(primitives.variable, (), {"variable": graph.variables[0]}))
    attributes = {"variable": graph.variables[0], "guarded": False}
    assign = graph.append(make(primitives.assign, [old.output], attributes))
    program = graph.programs["main"] = Program("main", [assign])
    assert to_text(graph).splitlines()[-1] == "assign name=w %0"
    program.fetches["next"] = assign.output
    assert to_text(graph).splitlines()[-2:] == ["%1 = assign name=w %0 : float32[]", "fetch next = %1"]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "%0 = placeholder name=x : float32[2]\n%1 = twist %0 : float32[2]",
            "line 2 .* no primitive 'twist'",
        ),
        ("%1 = exp %0 : float32[2]", "%0 is not the result of a line before"),
        ("%0 = placeholder name=x : float32[2]\n%1 = exp %0 : float32[3]", r"the result is float32\[2\]"),
        ("%0 = placeholder name=x : float33[2]", "'float33' is not an element type"),
        ("%0 = reduce_sum : float32[]", "takes 1 inputs, got 0"),
        ("%0 = placeholder name=x : float32[2]\n%1 = transpose %0 : float32[2]", "attributes are"),
        ("slots () ()\n%0 = constant value=1 : int8[]\nat %0 buffer=0", "missing 2 required"),
        ("at %0 buffer=0", "buffers and layouts stand after a line of slots"),
    ],
)
def test_a_line_that_does_not_read_is_named(text, complaint):
    with pytest.raises(GraphError, match=complaint):
        from_text(text)
