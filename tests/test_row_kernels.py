"""What models do between their products: one kernel over rows forward, one backward, each input read once."""

import pytest

import lazyflow as lf
from lazyflow import nn
from lazyflow.runtime import schema

F = nn.functional
WIDTH = 64


def between(function):
    """The kernels that walk all rows between two products, forward and backward, of a plan for gradients."""
    with lf.Graph() as graph:
        x, r = (lf.placeholder(name, ("batch", WIDTH)) for name in ("x", "r"))
        first, second = (nn.Linear(WIDTH, WIDTH, bias=False, name=name) for name in ("first", "second"))
        y = second(function(first(x), r))
        targets = [first.weight, second.weight]
        graph.program("main", fetches=dict(zip("ab", lf.gradients(lf.sum(y * y), targets), strict=True)))
    program = next(p for p in lf.compile(graph).document.programs if p.name == "main")
    large = f"{WIDTH}*batch"

    def sizes(accesses):
        buffers = [program.buffers[access.buffer] for access in accesses]
        return sorted((b.dtype, b.name) for b in buffers if b.size == large and b.dtype)

    return [
        (sizes(item.reads), sizes(write.to for write in item.writes))
        for item in program.instructions
        if isinstance(item, schema.Kernel) and item.space == ("batch", WIDTH)
    ]


PLAIN, MASK, R = ("float32", ""), ("bool", ""), ("float32", "r")

# what is done, what of a row's size the backward pass keeps of it beside the result, and whether it takes r
CASES = {
    "log softmax": (lambda h, r: F.log_softmax(h, -1), 2, False),
    "layer norm": (lambda h, r: F.layer_norm(h, (WIDTH,)), 1, False),
    "relu": (lambda h, r: F.relu(h), 2, False),
    "gelu": (lambda h, r: F.gelu(h), 2, False),
    "residual, layer norm": (lambda h, r: F.layer_norm(h + r, (WIDTH,)), 2, True),
    "dropout": (lambda h, r: F.dropout(h, 0.1), 2, False),
    "dropout, residual": (lambda h, r: F.dropout(h, 0.1) + r, 2, True),
    "dropout, residual, layer norm": (lambda h, r: F.layer_norm(F.dropout(h, 0.1) + r, (WIDTH,)), 3, True),
}


@pytest.mark.parametrize("name", CASES)
def test_work_between_products_is_one_kernel_over_rows_and_one_backward(name):
    function, most, residual = CASES[name]
    forward, loss, backward = between(function)
    assert forward[0] == ([PLAIN, R] if residual else [PLAIN])
    assert len(forward[1]) <= most
    assert loss == ([PLAIN], [PLAIN])  # the derivative of a square
    assert len(backward[1]) == 1


@pytest.mark.parametrize("name", [name for name in CASES if "dropout" in name])
def test_of_what_dropout_draws_only_one_bool_per_element_is_kept(name):
    forward, _, backward = between(CASES[name][0])
    assert [kept for kept in forward[1] if kept[0] != "float32"] == [MASK]
    assert MASK in backward[0]


def test_softmax_is_one_kernel_over_rows_and_one_backward():
    forward, _, backward = between(lambda h, r: F.softmax(h, -1))
    assert forward[0] == [PLAIN]
    assert len(backward[1]) == 1
