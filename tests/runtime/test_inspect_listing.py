"""print(plan): what each instruction reads, computes and writes."""

import pytest

from inspected import DOCUMENT, arena, held
from lazyflow.runtime import schema
from lazyflow.runtime.inspect.listing import listing, shortened


def test_listing_shows_programs_in_the_users_words():
    assert listing(DOCUMENT) == "\n".join(
        [
            'plan "line": programs train, predict',
            "",
            "parameter  float32[3, 4]  layer.weight",
            "variable   float32[3, 4]  layer.weight/exp_avg",
            "variable   float64[1]     adam/groups/0/lr",
            "variable   int32[]        layer.weight/group",
            "",
            "program train(x: float32[batch, 4], y: float32[batch, 3])",
            "   0  %6 = matmul x layer.weight over [batch, 3], summing 4  # layer/matmul job.py:5",
            "   1  kernel over [batch, 3], reducing the last 2 axes  # sub, square, sum job.py:6,7",
            "          t0 = sub %6 y; t1 = mul t0 t0; t2 = reduce_sum t1; %6 = t0; %7 = t2",
            "   2  %8 = matmul %6 x over [3, 4], summing batch  # matmul.grad job.py:8",
            "   3  kernel_batch over 1 parameter, 12 elements  # Adam job.py:9",
            "          t0 = add layer.weight/exp_avg %8; t1 = cast adam/groups/0/lr float32; t2 = mul t1 t0",
            "          t3 = sub layer.weight t2; layer.weight = t3; layer.weight/exp_avg = t0",
            "  return loss: float32[] = %7",
            "",
            "program predict(x: float32[batch, 4])",
            "   0  %2 = matmul x layer.weight over [batch, 3], summing 4  # layer/matmul job.py:5",
            "  return out: float32[batch, 3] = %2",
        ]
    )


TABLE = schema.Access(buffer=0, strides=(0, 1))
INDEX = schema.Access(buffer=1, strides=(1, 0))
VALUE = schema.Access(buffer=2, strides=(5, 1))
WHERE = {"space": (4, 5), "axis_size": 10, "axis_stride": 5, "index": INDEX}


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (schema.Gather(**WHERE, table=TABLE, out=VALUE), "%2 = gather table at index over [4, 5]"),
        (
            schema.ScatterAdd(**WHERE, table=TABLE, source=VALUE),
            "table = scatter_add %2 at index over [4, 5]",
        ),
        (schema.Check(space=(4,), size="n", index=INDEX), "check 0 <= index < n over [4]"),
        (schema.Copy(space=(4, 5), source=TABLE, to=VALUE, when=3), "%2 = copy table over [4, 5] when %3"),
        (schema.Print(text="rate {}", space=(), source=VALUE), "print 'rate {}' %2"),
    ],
    ids=["gather", "scatter_add", "check", "copy", "print"],
)
def test_listing_of_each_instruction(item, expected):
    buffers = (
        held("variable", "table", 50),
        held("feed", "index", 4, "int64"),
        arena(20),
        arena(1, dtype="bool"),
    )
    program = schema.Program(name="main", buffers=buffers, instructions=(item,))
    document = schema.Document(name="one", programs=(program,))
    assert listing(document).splitlines()[-1] == f"   0  {expected}"


def test_listing_writes_literals_in_their_place():
    body = (
        schema.Call(op="literal", dtype="float32", value=0.5),
        schema.Call(op="mul", args=(0, 1), dtype="float32"),
        schema.Call(op="index", dtype="int64", value=0),
    )
    kernel = schema.Kernel(space=(4,), reads=(VALUE,), body=body, writes=(schema.Write(value=2, to=VALUE),))
    program = schema.Program(name="main", buffers=(arena(20),) * 3, instructions=(kernel,))
    document = schema.Document(name="one", programs=(program,))
    assert listing(document).splitlines()[-1].strip() == "t0 = mul %2 0.5; t1 = index 0; %2 = t0"


def test_a_long_text_loses_its_middle_and_says_so():
    lines = shortened([str(number) for number in range(5000)], longest=100)
    assert lines[74:77] == ["74", "# ... 4,900 lines are not shown ...", "4975"]
    assert shortened(["a", "b"], longest=2) == ["a", "b"]
