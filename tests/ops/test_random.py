"""Random draws: the published generator, element by element, under the state's seed and run counter."""

import re

import numpy as np
import pytest

import lazyflow as lf
from lazyflow.ops.random import count_runs
from lazyflow.runtime.errors import LazyflowError
from ops.evaluation import evaluate

SEED = 2**40 + 12345
WORD = 2**32 - 1


def philox(counter, key):
    """Philox4x32-10 in Python's integers, written from the paper."""
    c, k = list(counter), list(key)
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [(p1 >> 32) ^ c[1] ^ k[0], p1 & WORD, (p0 >> 32) ^ c[3] ^ k[1], p0 & WORD]
        k = [(k[0] + 0x9E3779B9) & WORD, (k[1] + 0xBB67AE85) & WORD]
    return c


def words(count, stream, seed=SEED, run=0):
    key, halves = (seed & WORD, seed >> 32), (run & WORD, run >> 32)
    return np.array([philox((i // 4, stream, *halves), key)[i % 4] for i in range(count)])


def draw(*functions, seed=SEED, run=0, feeds=None):
    with lf.Graph() as graph:
        drawn = [function() for function in functions]
    return evaluate(graph, drawn, feeds, state={"random/seed": seed, "random/runs": run})


def test_philox_has_the_published_answers():
    # Random123's known answers: kat_vectors, philox4x32 with 10 rounds
    assert philox((0, 0, 0, 0), (0, 0)) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    assert philox((WORD,) * 4, (WORD,) * 2) == [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]
    pi = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0)
    assert philox(*pi) == [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]


@pytest.mark.parametrize("run", [0, 1, 2**35 + 3])
def test_uniform_is_the_top_24_bits_of_each_word(run):
    (values,) = draw(lambda: lf.uniform((3, 2, 5)), run=run)
    expected = (words(30, 0, run=run) >> 8) * 2.0**-24
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, expected.reshape(3, 2, 5))


def test_each_draw_has_its_own_stream():
    first, second = draw(lambda: lf.rand(7), lambda: lf.rand(7))
    np.testing.assert_array_equal(first, (words(7, 0) >> 8) * 2.0**-24)
    np.testing.assert_array_equal(second, (words(7, 1) >> 8) * 2.0**-24)


def test_normal_is_box_muller_on_pairs_of_words():
    (values,) = draw(lambda: lf.normal((3, 5), dtype=lf.float64))
    u = (words(16, 0) >> 8).reshape(8, 2) * 2.0**-24
    radius, angle = np.sqrt(-2 * np.log(1 - u[:, 0])), 2 * np.pi * u[:, 1]
    expected = (radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)).ravel()[:15]
    np.testing.assert_allclose(values, expected.reshape(3, 5), rtol=1e-12, atol=1e-14)


def test_normal_numbers_in_float32_are_those_of_float64_to_rounding():
    narrow, wide = (
        draw(lambda d=d: lf.normal((100,), 2.0, 3.0, dtype=d))[0] for d in (lf.float32, lf.float64)
    )
    np.testing.assert_allclose(narrow, wide, rtol=1e-5, atol=1e-5)


def test_normal_has_the_mean_and_deviation_asked_for():
    (values,) = draw(lambda: lf.randn(400, 250))
    assert np.isfinite(values).all()
    assert abs(values.mean()) < 0.01  # 3 standard errors of 100,000 draws
    assert abs(values.std() - 1) < 0.01


@pytest.mark.parametrize(("dtype", "bits"), [(lf.float16, 11), (lf.bfloat16, 8)], ids=str)
def test_half_types_draw_no_one_and_every_step_below(dtype, bits):
    (values,) = draw(lambda: lf.uniform((5000,), dtype=dtype))
    steps = values.astype(np.float64) * 2**bits
    np.testing.assert_array_equal(steps, words(5000, 0) >> (32 - bits))
    assert steps.max() <= 2**bits - 1


def test_uniform_between_limits_that_may_be_tensors():
    (values,) = draw(lambda: lf.uniform((4, 100), low=lf.constant(-3.0), high=5.0))
    np.testing.assert_allclose(values.ravel(), (words(400, 0) >> 8) * 2.0**-24 * 8 - 3, rtol=1e-6, atol=1e-6)


def test_bernoulli_is_a_uniform_number_below_p():
    p = np.linspace(0, 1, 5).astype(np.float32)
    half, spread = draw(lambda: lf.bernoulli((100,)), lambda: lf.bernoulli((40, 5), lf.constant(p)))
    np.testing.assert_array_equal(half, (words(100, 0) >> 8) * 2.0**-24 < 0.5)
    np.testing.assert_array_equal(spread, (words(200, 1).reshape(40, 5) >> 8) * 2.0**-24 < p)


def test_draws_of_a_named_shape_number_their_elements_row_by_row():
    with lf.Graph() as graph:
        x = lf.placeholder("x", ("batch", 3, "seq"))
        drawn = lf.uniform(x.shape) + x * 0.0
    (values,) = evaluate(graph, [drawn], {"x": np.zeros((2, 3, 4))}, state={"random/seed": SEED})
    np.testing.assert_array_equal(values.ravel(), (words(24, 0) >> 8) * 2.0**-24)


def test_a_scalar_can_be_drawn():
    assert draw(lf.rand)[0] == (words(1, 0)[0] >> 8) * 2.0**-24


def test_rand_and_randn_take_the_shape_as_one_argument_or_several():
    shapes = [
        value.shape for value in draw(lambda: lf.rand(2, 3), lambda: lf.rand((2, 3)), lambda: lf.randn(4))
    ]
    assert shapes == [(2, 3), (2, 3), (4,)]


def test_only_programs_that_draw_count_their_runs():
    with lf.Graph() as graph:
        x = lf.placeholder("x", (3,))
        graph.program("train", fetches={"y": x * lf.rand(3)})
        graph.program("evaluate", fetches={"y": x})
        count_runs(graph)
    assigned = {
        name: [v.name for op in p.effects for v in op.assigned] for name, p in graph.ir.programs.items()
    }
    assert assigned == {"train": ["random/runs"], "evaluate": []}


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: lf.uniform((3,), dtype=lf.int64), "uniform: int64 is not drawn; expected a floating type"),
        (lambda: lf.normal((0,)), "normal: 0 in shape (0,) is no size"),
        (lambda: lf.normal((3,), std=-1.0), "normal: std -1.0 is out of range"),
        (lambda: lf.uniform((3,), 2, 1), "uniform: high 1 is below low 2"),
        (lambda: lf.bernoulli((3,), 1.5), "bernoulli: p 1.5 is out of range"),
        (lambda: lf.bernoulli((3,), float("nan")), "bernoulli: p nan is out of range"),
    ],
)
def test_what_cannot_be_drawn(call, text):
    with lf.Graph(), pytest.raises(LazyflowError, match=re.escape(text)):
        call()


@pytest.mark.parametrize("call", [lf.rand, lf.randn, lambda: lf.zeros((2,)), lambda: lf.iota((2,))])
def test_outside_of_a_graph(call):
    with pytest.raises(lf.GraphError, match="no graph is open"):
        call()


def test_a_session_draws_by_its_seed_and_counts_the_runs_that_draw():
    with lf.Graph() as graph:
        graph.program("draw", fetches={"a": lf.rand(9), "b": lf.rand(9)})
        graph.program("still", fetches={"zero": lf.zeros((2,))})
    session = lf.compile(graph).session(backend="numpy", seed=SEED)
    for run in range(3):
        out = session.run("draw")
        session.run("still")
        for stream, name in enumerate("ab"):
            np.testing.assert_array_equal(out[name], (words(9, stream, run=run) >> 8) * 2.0**-24)
    assert session.get("random/runs") == 3


@pytest.mark.parametrize("dtype", [lf.float32, lf.float64, lf.float16, lf.bfloat16], ids=str)
@pytest.mark.parametrize("high", [0.3, 7.0, 1e-30, 1e-37, 0.0])
def test_a_limit_scales_the_numbers_below_one_with_one_rounding(dtype, high):
    (scaled,) = draw(lambda: lf.uniform((1000,), 0.0, high, dtype))
    (expected,) = draw(lambda: lf.uniform((1000,), dtype=dtype) * high)
    np.testing.assert_array_equal(scaled, expected)
