"""What a run may be given, and what the refusals say."""

import ml_dtypes
import numpy as np
import pytest

from documents import Program, call, literal, plan, variable
from lazyflow.runtime.dimensions import MAX_EXTENT
from lazyflow.runtime.errors import FeedError

X = np.ones((4, 3), np.float32)


def counting(*feeds, dimensions=("batch",)):
    """A session whose program counts its runs; feeds are (name, shape, dtype)."""
    p = Program("train", dimensions)
    for name, shape, dtype in feeds:
        p.feed(name, shape, dtype, location="train.py:3")
    runs = p.variable("runs", (), "int64")
    p.kernel([runs], [literal(1, "int64"), call("add", 0, 1, dtype="int64")], [(2, runs)])
    return plan(p, variables=[variable("runs", (), "int64", 0)]).session("numpy")


def refused(session, *args, **feeds):
    """The text of the refusal, of a run that changed nothing."""
    with pytest.raises(FeedError) as caught:
        session.run("train", *args, **feeds)
    assert session.get("runs") == 0
    return str(caught.value)


@pytest.fixture
def session():
    return counting(("x", ("batch", 3), "float32"), ("y", ("batch",), "int64"))


def test_unknown_feed_hints_at_the_closest_name():
    text = refused(counting(("images", (), "float32"), dimensions=()), image=1.0)
    assert text.startswith("unknown feed 'image'")
    assert "did you mean 'images'?" in text


def test_missing_feed_says_what_it_is_and_where_it_was_made(session):
    text = refused(session, x=X)
    assert text.startswith("program 'train': missing feed 'y'")
    assert 'int64["batch"]' in text
    assert "at train.py:3" in text


def test_feed_given_twice(session):
    assert "feed given twice, in the mapping and by keyword: 'x'" in refused(session, {"x": X}, x=X)


def test_feeds_that_are_no_mapping(session):
    assert "feeds: list is not a mapping" in refused(session, [X])


def test_feeds_without_names(session):
    text = refused(session, X, np.zeros(4, np.int64))
    assert text.startswith("run: 2 feeds without names")
    assert "expected  'x', 'y'" in text
    assert "session.run(program, x=array)" in text


def test_feed_that_is_given_by_no_name(session):
    assert "hint      a feed is given by its name" in refused(session, {0: X})


@pytest.mark.parametrize(
    ("dtype", "hint"), [("complex64", "  hint      array.real.astype(np.float32)"), ("M8[s]", "")]
)
def test_other_kinds_of_numbers_say_what_to_write(session, dtype, hint):
    text = refused(session, x=np.zeros((1, 3), dtype), y=np.zeros(1, np.int64))
    assert text.splitlines()[3:] == [hint] * bool(hint)


@pytest.mark.parametrize(
    ("labels", "hint"),
    [
        (
            ["cat", "dog"],
            "np.unique(array, return_inverse=True)[1].astype(np.int64), a number for each value",
        ),
        (np.array(["cat", None]), "np.unique(array, return_inverse=True)[1].astype(np.int64)"),
        ([1.0, np.nan], "the array holds NaN, which no integer stands for"),
        ([1.0, 2.0], "array.astype(np.int64), where losing digits is meant"),
    ],
)
def test_labels_that_are_no_integers_say_what_to_write(session, labels, hint):
    text = refused(session, x=X[:2], y=np.asarray(labels))
    assert f"hint      {hint}" in text
    assert "str96" not in text


def test_strings_for_floats_say_what_to_write(session):
    text = refused(session, x=np.array([["1", "2", "3"]]), y=np.zeros(1, np.int64))
    assert "hint      array.astype(np.float32), where it holds numbers" in text


def test_two_feeds_that_disagree_on_a_dimension_are_both_named(session):
    text = refused(session, x=X, y=np.zeros(3, np.int64))
    assert text.startswith('x is ("batch", 3) with batch=4, y says batch=3')
    assert 'float32["batch", 3]  made at train.py:3' in text


def test_wrong_static_axis(session):
    text = refused(session, x=X[:, :2], y=np.zeros(4, np.int64))
    assert text.startswith("feed 'x': axis 1 is 2 in shape (4, 2)")
    assert 'float32["batch", 3]' in text


def test_wrong_rank(session):
    assert "feed 'x': shape (3,) has 1 axis" in refused(session, x=X[0], y=np.zeros(4, np.int64))


@pytest.mark.parametrize(
    ("expected", "shape", "hint"),
    [
        (("batch", 6), (6,), "array[None], for one row"),
        (("batch", 6), (4, 2, 3), "array.reshape(4, 6)"),
        (("batch",), (4, 1), "array.reshape(4,)"),
        (("batch", 2, 3), (4, 2, 3, 1), "array.reshape(4, 2, 3)"),
        (("batch",), (4, 3), None),
        (("batch", 6), (4, 2, 4), None),
        (("batch", 6), (3,), None),
        (("batch", 5, 6), (5,), None),
        ((), (1,), None),
    ],
)
def test_array_of_another_rank_says_what_to_write(expected, shape, hint):
    session = counting(("x", expected, "float32"), dimensions=("batch",) if expected else ())
    text = refused(session, x=np.zeros(shape, np.float32))
    assert text.splitlines()[3:] == ([f"  hint      {hint}"] if hint else [])


def test_empty_axis_is_refused_by_name(session):
    text = refused(session, x=X[:0], y=np.zeros(0, np.int64))
    assert text.startswith("feed 'x': axis 0 (\"batch\") is empty")
    assert "made      at train.py:3" in text
    assert "hint      leave out the run" in text


def test_axis_that_is_too_long_is_refused_before_it_is_copied(session):
    x = np.broadcast_to(X[:1], (MAX_EXTENT + 1, 3))
    text = refused(session, x=x, y=np.zeros(1, np.int64))
    assert text.startswith(f"feed 'x': axis 0 (\"batch\") is {MAX_EXTENT + 1}\n")
    assert f"a size from 1 to {MAX_EXTENT}" in text
    assert "hint" not in text


def test_one_row_is_enough(session):
    session.run("train", x=X[:1], y=np.zeros(1, np.int64))
    assert session.get("runs") == 1


def test_polynomial_axis_is_checked_by_its_value():
    session = counting(("x", ("batch",), "float32"), ("pairs", ("2*batch",), "float32"))
    session.run("train", x=np.ones(3, np.float32), pairs=np.ones(6, np.float32))
    session.set("runs", 0)
    text = refused(session, x=np.ones(3, np.float32), pairs=np.ones(5, np.float32))
    assert text.startswith("feed 'pairs': axis 0 is 5, but 2*batch is 6 with batch=3")


def test_a_wrong_size_is_explained_by_the_names_in_it_only():
    given = ("x", ("a", "batch"), "float32"), ("y", ("batch + 1",), "float32")
    session = counting(*given, dimensions=("a", "batch"))
    text = refused(session, x=np.ones((2, 3), np.float32), y=np.ones(5, np.float32))
    assert text.startswith("feed 'y': axis 0 is 5, but batch + 1 is 4 with batch=3\n")


def test_unsafe_dtype_says_what_to_write(session):
    text = refused(session, x=X.astype(np.float64), y=np.zeros(4, np.int64))
    assert text.startswith("feed 'x': float64 does not cast safely to float32")
    assert "array.astype(np.float32)" in text
    assert "made      at train.py:3" in text


def test_list_says_what_to_write(session):
    text = refused(session, x=[[1.0, 2.0, 3.0]], y=np.zeros(1, np.int64))
    assert text.startswith("feed 'x': a list is not a plain numpy array")
    assert "np.asarray(..., dtype=np.float32)" in text
    assert "a numpy array of float32 with 2 axes" in text
    assert "a numpy array of int64 with 1 axis\n" in refused(session, x=X[:1], y=[0])
    assert "made      at train.py:3" in text


def test_masked_array_is_refused(session):
    masked = np.ma.masked_less(X, 0)
    assert "MaskedArray is not a plain numpy array" in refused(session, x=masked, y=np.zeros(4, np.int64))


def test_other_object_is_named_by_its_type(session):
    assert "feed 'x': dict is not a plain numpy array" in refused(session, x={}, y=np.zeros(1, np.int64))


def echo(shape, dtype, dimensions=()):
    p = Program(dimensions=dimensions)
    x, y = p.feed("x", shape, dtype), p.arena(shape, dtype)
    p.kernel([x], [], [(0, y)])
    p.fetch("y", y)
    session = plan(p).session("numpy")
    return lambda value: session.run("main", x=value)["y"]


@pytest.mark.parametrize(
    "value", [2, True, np.float64(2.5), np.int64(2), ml_dtypes.bfloat16(2.5), 2.5, np.array(2, np.int16)]
)
def test_rank_zero_takes_numbers_of_the_same_or_a_lower_kind(value):
    found = echo((), "float32")(value)
    assert found.dtype == np.float32
    assert found == value


@pytest.mark.parametrize(
    ("dtype", "value", "reason"),
    [
        ("int64", 2.0, "2.0 is of a higher kind than int64"),
        ("int64", ml_dtypes.bfloat16(2.0), "2 is of a higher kind than int64"),
        ("float32", np.complex64(2), "is of a higher kind than float32"),
        ("bool", 1, "1 is of a higher kind than bool"),
        ("int32", 2**31, "2147483648 is outside of the range of int32"),
        ("uint8", -1, "-1 is outside of the range of uint8"),
        ("float32", 1e39, "1e+39 is outside of the range of float32"),
        ("float16", -70000, "-70000 is outside of the range of float16"),
        ("float32", 1j, "complex is not a plain numpy array"),
    ],
)
def test_rank_zero_refuses_other_numbers(dtype, value, reason):
    with pytest.raises(FeedError) as caught:
        echo((), dtype)(value)
    assert reason in str(caught.value)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_rank_zero_takes_numbers_that_are_not_finite(value):
    np.testing.assert_equal(echo((), "float32")(value), np.float32(value))


@pytest.mark.parametrize(("dtype", "value"), [("uint8", 255), ("int8", -128), ("float32", 3.4028234e38)])
def test_rank_zero_takes_the_largest_numbers(dtype, value):
    assert echo((), dtype)(value) == np.array(value, dtype)


def test_number_for_an_array_is_refused():
    with pytest.raises(FeedError, match="float is not a plain numpy array"):
        echo((2,), "float32")(1.0)


def test_array_of_a_safe_dtype_is_cast():
    found = echo((3,), "float64")(np.array([1, 2, 3], np.int32))
    assert found.dtype == np.float64
    assert found.tolist() == [1, 2, 3]


def test_bfloat16_feeds():
    found = echo((2,), "bfloat16")(np.array([1.5, 2.5], ml_dtypes.bfloat16))
    assert found.dtype == ml_dtypes.bfloat16
    assert found.tolist() == [1.5, 2.5]


@pytest.mark.parametrize("order", [">f4", "<f4"])
def test_other_layouts_and_byte_orders_are_copied(order):
    backwards = np.arange(12, dtype=order).reshape(4, 3)[::-1, ::2]
    found = echo((4, 2), "float32")(backwards)
    np.testing.assert_array_equal(found, backwards)


def test_feed_that_overlaps_a_bound_variable_is_copied():
    p = Program(dimensions=())
    x, w, y = p.feed("x", (3,)), p.variable("w", (3,)), p.arena((3,))
    p.kernel([], [literal(7.0)], [(0, w)], space=(3,))
    p.kernel([x], [], [(0, y)])
    p.fetch("y", y)
    session = plan(p, variables=[variable("w", (3,))]).session("numpy")
    memory = np.arange(3, dtype=np.float32)
    session.bind("w", memory)
    assert session.run("main", x=memory)["y"].tolist() == [0, 1, 2]  # as it was before the run
    assert memory.tolist() == [7, 7, 7]


def test_misaligned_feed_is_copied():
    memory = np.zeros(4 * 3 + 1, np.uint8)
    feed = memory[1:].view(np.float32)
    feed[:] = [1, 2, 3]
    assert not feed.flags.aligned
    assert echo((3,), "float32")(feed).tolist() == [1, 2, 3]


def test_feeds_are_checked_anew_where_their_shapes_were_seen(session):
    y = np.zeros(4, np.int64)
    session.run("train", x=X, y=y)
    session.set("runs", 0)
    assert "float64 does not cast safely" in refused(session, x=X.astype(np.float64), y=y)
    assert "axis 1 is 2" in refused(session, x=X[:, :2], y=y)
    assert "unknown feed 'z'" in refused(session, x=X, z=y)
    assert "unknown feed 'z'" in refused(session, x=X, y=y, z=y)
    assert "missing feed 'y'" in refused(session, x=X)
    assert "a list is not a plain numpy array" in refused(session, x=X.tolist(), y=y)
    assert "MaskedArray is not a plain" in refused(session, x=np.ma.masked_less(X, 0), y=y)


def test_layout_and_memory_are_looked_at_where_the_shapes_were_seen(monkeypatch):
    p = Program(dimensions=())
    p.feed("x", (4,))
    session, taken = plan(p, variables=[variable("w", (4,))]).session("numpy"), []
    run, bound = session.backend.run, np.float32([1, 2, 3, 4])
    monkeypatch.setattr(session.backend, "run", lambda *args: (taken.append(args[1]["x"]), run(*args))[1])
    session.bind("w", bound)
    misaligned = np.zeros(17, np.uint8)[1:].view(np.float32)
    misaligned[:] = bound
    for feed in (bound.copy(), bound.repeat(2)[::2], misaligned, bound):
        session.run("main", x=feed)
        assert taken[-1].tolist() == [1, 2, 3, 4]
        assert taken[-1].flags.c_contiguous
        assert taken[-1].flags.aligned
        assert not np.may_share_memory(taken[-1], bound)


def test_many_shapes_are_solved_each():
    session = counting(("x", ("batch",), "float32"))
    for size in range(1, 200):
        session.run("train", x=np.zeros(size, np.float32))
    assert session.get("runs") == 199


def test_feeds_are_never_changed_nor_kept():
    value = np.arange(3, dtype=np.float32)
    value.flags.writeable = False
    assert echo((3,), "float32")(value).tolist() == [0, 1, 2]


def test_feed_of_a_float64_oracle_takes_float64():
    p = Program(dimensions=())
    x = p.feed("x", (1,))
    p.fetch("y", x)
    found = plan(p).session("numpy", precision="float64").run("main", x=np.array([0.1]))
    assert found["y"].tolist() == [0.1]
