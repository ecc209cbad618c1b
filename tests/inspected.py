"""A small plan written by hand: a linear layer with its loss, trained by a batched update."""

from lazyflow.runtime import schema


def access(buffer, *strides, offset=0):
    return schema.Access(buffer=buffer, offset=offset, strides=strides)


def call(op, *args, dtype="float32", value=None):
    return schema.Call(op=op, args=args, dtype=dtype, value=value)


def arena(size, offset=0, slot=1, dtype="float32"):
    return schema.Buffer(dtype=dtype, size=size, place="arena", slot=slot, offset=offset)


def held(place, name, size, dtype="float32"):
    return schema.Buffer(dtype=dtype, size=size, place=place, name=name)


BUFFERS = (
    held("feed", "x", "4*batch"),
    held("feed", "y", "3*batch"),
    held("variable", "layer.weight", 12),
    held("variable", "layer.weight/exp_avg", 12),
    held("variable", "adam/groups/0/lr", 1, "float64"),
    held("variable", "layer.weight/group", 1, "int32"),
    arena("3*batch"),  # 6: the product, and then its error
    arena("1", slot=0),  # 7: the loss
    arena(12, offset=64, slot=0),  # 8: the gradient
)
FORWARD = schema.MatMul(
    batch=(), m="batch", n=3, k=4, a=access(0, 4, 1), b=access(2, 1, 4), out=access(6, 3, 1), origin=(0,)
)
LOSS = schema.Kernel(
    space=("batch", 3),
    inner=2,
    reads=(access(6, 3, 1), access(1, 3, 1)),
    body=(call("sub", 0, 1), call("mul", 2, 2), call("reduce_sum", 3)),
    writes=(schema.Write(value=2, to=access(6, 3, 1)), schema.Write(value=4, to=access(7, 0, 0))),
    origin=(1, 2, 3),
)
BACKWARD = schema.MatMul(
    batch=(), m=3, n=4, k="batch", a=access(6, 1, 3), b=access(0, 4, 1), out=access(8, 4, 1), origin=(4,)
)
UPDATE = schema.KernelBatch(
    columns=(access(4, 1),),
    body=(call("add", 1, 2), call("cast", 3), call("mul", 5, 4), call("sub", 0, 6)),
    results=(7, 4),
    segments=(schema.Segment(size=12, reads=(2, 3, 8), writes=(2, 3), group=5),),
    origin=(5,),
)
TRAIN = schema.Program(
    name="train",
    dimensions=("batch",),
    feeds=(
        schema.Feed(name="x", dtype="float32", shape=("batch", 4), buffer=0, location="job.py:3"),
        schema.Feed(name="y", dtype="float32", shape=("batch", 3), buffer=1, location="job.py:4"),
    ),
    fetches=(schema.Fetch(name="loss", dtype="float32", shape=(), source=access(7)),),
    buffers=BUFFERS,
    instructions=(FORWARD, LOSS, BACKWARD, UPDATE),
    slots=(112, "12*batch"),
    lower_bound=("12*batch + 52",),
)
PREDICT = schema.Program(
    name="predict",
    dimensions=("batch",),
    feeds=TRAIN.feeds[:1],
    fetches=(schema.Fetch(name="out", dtype="float32", shape=("batch", 3), source=access(2, 3, 1)),),
    buffers=(BUFFERS[0], BUFFERS[2], arena("3*batch", slot=0)),
    instructions=(
        schema.MatMul(
            batch=(),
            m="batch",
            n=3,
            k=4,
            a=access(0, 4, 1),
            b=access(1, 1, 4),
            out=access(2, 3, 1),
            origin=(0,),
        ),
    ),
    slots=("12*batch",),
    lower_bound=("12*batch",),
)
DOCUMENT = schema.Document(
    name="line",
    variables=(
        schema.Variable(name="layer.weight", dtype="float32", shape=(3, 4), trainable=True),
        schema.Variable(name="layer.weight/exp_avg", dtype="float32", shape=(3, 4)),
        schema.Variable(name="adam/groups/0/lr", dtype="float64", shape=(1,), initial=0.1),
        schema.Variable(name="layer.weight/group", dtype="int32", shape=()),
    ),
    programs=(TRAIN, PREDICT),
    optimizers=(
        schema.Optimizer(
            name="adam",
            kind="Adam",
            groups=(schema.Group(scalars={"lr": ("adam/groups/0/lr",)}),),
            members={"layer.weight": "layer.weight/group"},
            state={"layer.weight": ("layer.weight/exp_avg",)},
        ),
    ),
    origins=(
        schema.Origin(name="layer/matmul", location="job.py:5"),
        schema.Origin(name="sub", location="job.py:6"),
        schema.Origin(name="square", location="job.py:6"),
        schema.Origin(name="sum", location="job.py:7"),
        schema.Origin(name="matmul.grad", location="job.py:8"),
        schema.Origin(name="Adam", location="job.py:9"),
    ),
    reasons=(
        schema.Reason(decision="fuse", code="joined", text="one space [batch, 3]", about="sum job.py:7"),
        schema.Reason(decision="place_buffers", code="in_place", text="sub dies there", about="square"),
    ),
)
