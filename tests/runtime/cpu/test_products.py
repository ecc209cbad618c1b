"""Matrix products, with the registers of this host and with narrower ones, against NumPy in float64."""

import itertools
import os
import subprocess
import sys

import numpy as np
import pytest

import lazyflow as lf
from documents import Program, plan
from lazyflow.runtime import schema
from lazyflow.runtime.backends.cpu import cpu
from lazyflow.runtime.backends.cpu.code.tiling import ProductWord, Way, product_name, tiled, tiles
from lazyflow.runtime.backends.cpu.lowering.program import program_tasks
from lazyflow.runtime.backends.cpu.lowering.tasks import Module
from lazyflow.runtime.backends.cpu.running.jit import Machine

SIZES = [
    *[
        (1, 1, 1),
        (1, 16, 5),
        (2, 9, 100),
        (3, 100, 64),
        (7, 13, 70),
        (8, 9, 129),
        (15, 31, 100),
        (31, 17, 16),
        (100, 15, 31),
    ],
    *[(8, 48, 16), (9, 49, 17), (17, 100, 1030), (130, 5, 40), (20, 47, 513), (10, 200, 256), (64, 200, 300)],
]
TRANSPOSES = list(itertools.product([False, True], repeat=3))
HOSTS = {}


class Narrow(Machine):
    """This host without AVX-512."""

    def __init__(self):
        super().__init__()
        self.features = self.features.replace("+avx512", "-avx512").replace("+avx10", "-avx10")


class Plain(Machine):
    """This host, whose products are those of BLAS."""

    bits = 0


@pytest.fixture(params=[Machine, Narrow, Plain])
def machine(request, monkeypatch):
    """Sessions compile for this machine."""
    kind = request.param
    if kind is Narrow and Machine().bits <= 256 == kind().bits:
        pytest.skip("the host is that narrow itself")
    if kind is Narrow and kind().bits != 256:
        pytest.skip("the host has no AVX2")
    if kind not in HOSTS:
        monkeypatch.setattr(cpu, "Machine", kind)
        HOSTS[kind] = cpu.Host()
    monkeypatch.setattr(cpu, "_hosts", [HOSTS[kind]])
    return kind


def normal(*shape, dtype="float32"):
    return np.random.default_rng(shape).normal(size=shape).astype(dtype)


def multiplication(transposed=(False, False, False), dtype="float32", sizes=("m", "n", "k")):
    """A plan that multiplies a and b, each given, and the result made, transposed or not."""
    m, n, k = sizes
    p = Program(dimensions=tuple(s for s in sizes if isinstance(s, str)))
    shapes = [s[::-1] if t else s for s, t in zip([(m, k), (k, n), (m, n)], transposed, strict=True)]
    a, b = (p.feed(name, shape, dtype) for name, shape in zip("ab", shapes, strict=False))
    y = p.arena(shapes[2], dtype)
    seen = [
        x.access(x.strides[::-1]) if t else x.access() for x, t in zip((a, b, y), transposed, strict=True)
    ]
    p.add(schema.MatMul(batch=(), m=m, n=n, k=k, a=seen[0], b=seen[1], out=seen[2]))
    p.fetch("y", y)
    return plan(p)


def multiplied(session, sizes, transposed, dtype="float32"):
    """What the session gives for some sizes, and what NumPy gives in float64."""
    m, n, k = sizes
    a, b = normal(m, k, dtype=dtype), normal(k, n, dtype=dtype)
    given = [np.ascontiguousarray(x.T) if t else x for x, t in zip((a, b), transposed, strict=False)]
    y = session.run("main", a=given[0], b=given[1])["y"]
    return y.T if transposed[2] else y, a.astype(np.float64) @ b.astype(np.float64)


def close(found, expected, dtype="float32", terms=1000):
    """Whether rounding explains the difference: an error of half a unit per term, of terms of size one."""
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=4 * terms**0.5 * np.finfo(dtype).eps * 8)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("transposed", TRANSPOSES)
def test_products_of_all_sizes_and_layouts(transposed, dtype, machine):
    session = multiplication(transposed, dtype).session("cpu")
    for sizes in SIZES:
        close(*multiplied(session, sizes, transposed, dtype), dtype)


@pytest.mark.parametrize("transposed", TRANSPOSES)
@pytest.mark.parametrize("sizes", [(1, 100, 70), (100, 1, 70), (33, 40, 1), (1, 1, 100)])
def test_products_with_vectors(sizes, transposed, machine):
    session = multiplication(transposed, sizes=sizes).session("cpu")
    close(*multiplied(session, sizes, transposed))


def test_bits_do_not_depend_on_the_number_of_threads(machine):
    before = lf.get_num_threads()
    try:
        for transposed in [(False, False, False), (False, True, False), (True, False, True)]:
            session = multiplication(transposed).session("cpu")
            for sizes in [(64, 128, 784), (128, 784, 64), (256, 10, 1024), (10, 1024, 256)]:
                found = set()
                for threads in (1, 2, 3, 4, 8):
                    lf.set_num_threads(threads)
                    found.add(multiplied(session, sizes, transposed)[0].tobytes())
                assert len(found) == 1, sizes
    finally:
        lf.set_num_threads(before)


@pytest.mark.parametrize("transposed", TRANSPOSES[::3])
def test_nan_and_inf_go_where_they_belong(transposed, machine):
    session = multiplication(transposed).session("cpu")
    for m, n, k in [(2, 50, 40), (9, 50, 40), (20, 31, 600)]:
        a, b = normal(m, k), normal(k, n)
        a[0, 3], a[1, k - 1], b[5, n - 1], b[7, 0] = np.inf, -np.inf, np.nan, 0.0
        given = [np.ascontiguousarray(x.T) if t else x for x, t in zip((a, b), transposed, strict=False)]
        y = session.run("main", a=given[0], b=given[1])["y"]
        with np.errstate(invalid="ignore"):
            expected = a.astype(np.float64) @ b.astype(np.float64)
        close(y.T if transposed[2] else y, expected)


def test_heads_that_are_split_without_a_copy(machine):
    """Attention's products: matrices in the middle of a larger array, one after the other and across."""
    batch, length, heads, width = 3, 17, 4, 20
    p = Program(dimensions=())
    q, k = (p.feed(name, (batch, length, heads, width)) for name in "qk")
    scores, mixed = p.arena((batch, heads, length, length)), p.arena((batch, length, heads, width))
    step = heads * width
    rows, columns = (length * step, width, step, 1), (length * step, width, 1, step)
    shape = {"batch": (batch, heads), "m": length}
    p.add(
        schema.MatMul(**shape, n=length, k=width, a=q.access(rows), b=k.access(columns), out=scores.access())
    )
    p.add(
        schema.MatMul(**shape, n=width, k=length, a=scores.access(), b=k.access(rows), out=mixed.access(rows))
    )
    p.fetch("scores", scores)
    p.fetch("mixed", mixed)
    given = {name: normal(batch, length, heads, width) for name in "qk"}
    given["k"] *= 2
    found = plan(p).session("cpu").run("main", given)
    left, right = (x.astype(np.float64) for x in given.values())
    close(found["scores"], np.einsum("blhw,bmhw->bhlm", left, right))
    expected = np.einsum("blhw,bmhw,bmhv->blhv", left, right, right)
    np.testing.assert_allclose(found["mixed"], expected, rtol=1e-4, atol=1e-3)


GUARDED = """
import numpy as np
import lazyflow as lf

for transposed in [(False, False), (False, True), (True, False), (True, True)]:
    with lf.Graph() as graph, graph.program("multiply") as program:
        shapes = [("k", "m") if transposed[0] else ("m", "k"), ("n", "k") if transposed[1] else ("k", "n")]
        a, b = (lf.placeholder(name, shape) for name, shape in zip("ab", shapes))
        program.fetch(y=(a.T if transposed[0] else a) @ (b.T if transposed[1] else b))
    session = lf.compile(graph).session("cpu")
    for m, n, k in [(1, 7, 5), (3, 16, 33), (5, 17, 15), (9, 49, 31), (20, 100, 530)]:
        left, right = np.ones((m, k), np.float32), np.ones((k, n), np.float32)
        given = [np.ascontiguousarray(x.T) if t else x for x, t in zip((left, right), transposed)]
        y = session.run("multiply", a=given[0], b=given[1])["y"]
        assert y.shape == (m, n) and (y == k).all()
print("whole")
"""


@pytest.mark.skipif(os.name != "posix", reason="pages are guarded by mprotect")
def test_products_touch_nothing_outside_of_their_matrices():
    environment = os.environ | {"LAZYFLOW_GUARD_PAGES": "1"}
    found = subprocess.run(
        [sys.executable, "-c", GUARDED], env=environment, capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stdout) == (0, "whole\n"), found.stderr


@pytest.mark.parametrize("sizes", [(64, 128, 784), (64, 64, 128), (128, 784, 64), (256, 10, 1024)])
def test_tiles_keep_two_threads_busy(sizes):
    m, n, _ = sizes
    rows, columns = tiles(1, *sizes)
    areas = sorted(
        (min(rows, m - i) * min(columns, n - j) for i in range(0, m, rows) for j in range(0, n, columns)),
        reverse=True,
    )
    assert sum(areas) == m * n
    busy = [0, 0]
    for area in areas:
        busy[busy.index(min(busy))] += area
    assert max(busy) <= 0.6 * m * n


@pytest.mark.parametrize(("m", "n"), [(1 << 14, 512), (1 << 17, 128), (1 << 18, 64), (100_000, 48)])
def test_tiles_of_tall_products_fetch_a_row_of_a_once_or_twice(m, n):
    rows, columns = tiles(1, m, n, 64)
    assert -(-n // columns) <= 2
    assert -(-m // rows) >= 8


@pytest.mark.parametrize(("size", "own"), [(64, True), (1024, False)])
def test_large_products_are_those_of_blas_where_lanes_are_narrow(size, own):
    numbers = np.zeros(ProductWord.SIZE, np.int64)
    numbers[: ProductWord.K + 1] = size
    assert tiled(1, numbers) >= 1
    assert bool(numbers[ProductWord.OWN]) is own


@pytest.mark.parametrize("leading", [ProductWord.LEADING_A, ProductWord.LEADING_B, ProductWord.LEADING_C])
def test_what_blas_cannot_count_is_multiplied_by_us_or_refused(leading):
    numbers = np.zeros(ProductWord.SIZE, np.int64)
    numbers[: ProductWord.K + 1] = 1024
    numbers[leading] = 2**31 - 1
    for step, own in ((0, False), (1, True)):
        numbers[leading] += step
        numbers[ProductWord.OWN] = Way.EITHER.value
        tiled(1, numbers)
        assert bool(numbers[ProductWord.OWN]) is own
    numbers[ProductWord.OWN] = Way.BLAS.value
    with pytest.raises(lf.ShapeError, match=r"a product of 1024 by 1024 .* 2147483648 .* BLAS"):
        tiled(1, numbers)


def test_a_row_that_blas_cannot_count_is_refused_before_there_is_memory(machine):
    session = multiplication((False, False, False), sizes=("m", 2, "k")).session("cpu")
    table = session.backend._tables["main"]
    values = {"m": 2, "k": 2**31}
    if machine is Plain:
        with pytest.raises(lf.ShapeError, match="BLAS"):
            table.fill(values)
    else:
        assert table.fill(values).rows.size


WAYS = [(512, "float32", Way.OWN), (512, "float64", Way.EITHER), (256, "float32", Way.EITHER)]
WAYS += [(0, "float32", Way.BLAS)]


@pytest.mark.parametrize("transposed", TRANSPOSES)
@pytest.mark.parametrize(("bits", "dtype", "way"), WAYS)
def test_functions_follow_from_the_registers(bits, dtype, way, transposed):
    (program,) = multiplication(transposed, dtype, (9, 10, 11)).document.programs
    (task,) = program_tasks(program, Module(bits)).tasks
    assert task.function == product_name(way, {"float32": "float", "float64": "double"}[dtype])
