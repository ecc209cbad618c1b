"""session.groups: reading and writing the numbers of a live optimizer."""

import numpy as np
import pytest

from documents import Program, plan, variable
from lazyflow.runtime import schema
from lazyflow.runtime.errors import (
    ArgumentError,
    ArgumentTypeError,
    OutOfRangeError,
    SessionBusyError,
    StateError,
)


def group(index, **options):
    return schema.Group(
        scalars={
            "lr": (f"adam/groups/{index}/lr",),
            "betas": (f"adam/groups/{index}/betas/0", f"adam/groups/{index}/betas/1"),
            "etas": (f"adam/groups/{index}/etas/0",),
            "decay": (f"adam/groups/{index}/decay",),
            "shift": (f"adam/groups/{index}/shift",),
            "nesterov": (f"adam/groups/{index}/nesterov",),
        },
        options={"amsgrad": False} | options,
        ranges={
            "lr": (0.0, "inf", False, False),
            "betas": (0.0, 1.0, False, True),
            "etas": (0.0, 1.0, True, False),
            "decay": ("-inf", 2.0, False, False),
        },
    )


@pytest.fixture
def session():
    names = [name for index in range(3) for names in group(index).scalars.values() for name in names]
    variables = [
        *(variable(name, (), *(("bool", 0) if "nest" in name else ("float64", 0.25))) for name in names),
        variable("adam/offender", (), "int32", -1),
        variable("a"),
        variable("b"),
        variable("a/group", (), "int32", 0),
        variable("b/group", (), "int32", 1),
    ]
    optimizer = schema.Optimizer(
        name="adam",
        kind="Adam",
        groups=(group(0), group(1), group(2, amsgrad=True)),
        members={"a": "a/group", "b": "b/group"},
        state={"a": (), "b": ()},
    )
    return plan(Program(dimensions=()), variables=variables, optimizers=(optimizer,)).session("numpy")


def test_options_are_read_as_numbers_and_tuples(session):
    first = session.groups["adam"][0]
    assert first["lr"] == 0.25
    assert first["betas"] == (0.25, 0.25)
    assert first["amsgrad"] is False
    assert first["etas"] == (0.25,)
    assert first["nesterov"] is False
    assert list(first) == ["lr", "betas", "etas", "decay", "shift", "nesterov", "amsgrad"]
    assert "lr" in first
    assert "eps" not in first
    assert len(session.groups["adam"]) == 3


def test_options_take_arrays(session):
    first = session.groups["adam"][0]
    first["betas"], first["lr"] = np.float32([0.5, 0.75]), np.array(0.125)
    assert (first["betas"], first["lr"]) == ((0.5, 0.75), 0.125)
    with pytest.raises(ArgumentTypeError, match=r"lr: \[0.5\] is not a number"):
        first["lr"] = np.array([0.5])


def test_set_option_changes_the_variables(session):
    session.groups["adam"][1]["lr"] = 0.5
    session.groups["adam"][1]["betas"] = (0.8, 0.9)
    assert session.get("adam/groups/1/lr") == 0.5
    assert session.get("adam/groups/1/betas/1") == 0.9
    assert session.groups["adam"][0]["lr"] == 0.25


def test_set_option_takes_numpy_and_integer_numbers(session):
    for value in (1, np.float32(0.5), np.int64(2)):
        session.groups["adam"][0]["lr"] = value
        assert session.groups["adam"][0]["lr"] == value


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("lr", -1.0, "lr: -1.0 is out of range"),
        ("lr", float("nan"), "lr: nan is out of range"),
        ("lr", float("inf"), "lr: inf is out of range"),
        ("betas", (0.9, 1.0), "betas: 1.0 is out of range"),
        ("etas", (0.0,), "etas: 0.0 is out of range"),
        ("etas", (1.5,), "etas: 1.5 is out of range"),
        ("decay", 2.5, "decay: 2.5 is out of range"),
        ("shift", float("-inf"), "shift: -inf is out of range"),
    ],
)
def test_value_out_of_range_is_refused(session, option, value, reason):
    with pytest.raises(ArgumentError) as caught:
        session.groups["adam"][0][option] = value
    assert str(caught.value).startswith(reason)
    assert session.groups["adam"][0]["betas"] == (0.25, 0.25)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("lr", 0.0),
        ("betas", (0.0, 0.0)),
        ("etas", (1.0,)),
        ("decay", 2.0),
        ("decay", -1e300),
        ("shift", 1e300),
    ],
)
def test_ends_of_a_closed_range_are_taken(session, option, value):
    session.groups["adam"][0][option] = value
    assert session.groups["adam"][0][option] == value


@pytest.mark.parametrize("value", [True, np.True_])
def test_switch_is_set_with_a_bool(session, value):
    session.groups["adam"][0]["nesterov"] = value
    assert session.groups["adam"][0]["nesterov"] is True


def test_range_is_shown_with_its_open_ends(session):
    with pytest.raises(ArgumentError, match=r"\[0.0, 1.0\)"):
        session.groups["adam"][0]["betas"] = (2.0, 0.5)
    with pytest.raises(ArgumentError, match=r"\[0.0, inf\)"):
        session.groups["adam"][0]["lr"] = float("inf")
    with pytest.raises(ArgumentError, match=r"\(0.0, 1.0\]"):
        session.groups["adam"][0]["etas"] = (0.0,)
    with pytest.raises(ArgumentError, match=r"\(-inf, 2.0\]"):
        session.groups["adam"][0]["decay"] = 3.0
    with pytest.raises(ArgumentError, match=r"\(-inf, inf\)"):
        session.groups["adam"][0]["shift"] = float("nan")


@pytest.mark.parametrize(
    ("option", "value", "reason"),
    [
        ("lr", "0.1", "lr: '0.1' is not a number"),
        ("lr", True, "lr: True is not a number"),
        ("lr", np.True_, "lr: np.True_ is not a number"),
        ("lr", (0.1,), "lr: (0.1,) is not a number"),
        ("lr", 1j, "lr: 1j is not a number"),
        ("etas", 0.5, "etas: 0.5 is not a sequence of 1 numbers"),
        ("betas", "ab", "betas: 'ab' is not a sequence of 2 numbers"),
        ("nesterov", 1, "nesterov: 1 is no bool\n  expected  True or False"),
        ("betas", 0.9, "betas: 0.9 is not a sequence of 2 numbers"),
        ("betas", (0.9,), "betas: (0.9,) is not a sequence of 2 numbers"),
    ],
)
def test_value_of_a_wrong_type_is_refused(session, option, value, reason):
    with pytest.raises(ArgumentTypeError) as caught:
        session.groups["adam"][0][option] = value
    assert str(caught.value).startswith(reason)


def test_structure_is_refused_with_the_reason(session):
    with pytest.raises(StateError) as caught:
        session.groups["adam"][0]["amsgrad"] = True
    assert "amsgrad: cannot be changed in a live session" in str(caught.value)
    assert "amsgrad=False, as when the graph was compiled" in str(caught.value)


def test_unknown_optimizer_lists_those_that_there_are(session):
    with pytest.raises(ArgumentError) as caught:
        session.groups["adamw"]
    assert "groups: no optimizer is named 'adamw'" in str(caught.value)
    assert "expected  'adam'" in str(caught.value)
    assert "did you mean 'adam'?" in str(caught.value)
    assert "adamw" not in session.groups
    assert session.groups.get("adamw") is None


@pytest.mark.parametrize(("place", "name"), [(-1, None), (0, "a"), (1, "b")])
def test_offender_is_the_parameter_at_the_place_that_was_kept(session, place, name):
    session.set("adam/offender", place)
    assert session.groups["adam"].offender == name


def test_optimizer_that_keeps_no_offender_has_none():
    groups = (schema.Group(scalars={}, options={}, ranges={}),)
    optimizer = schema.Optimizer(name="sgd", kind="SGD", groups=groups, members={}, state={})
    made = plan(Program(dimensions=()), optimizers=(optimizer,)).session("numpy")
    assert made.groups["sgd"].offender is None


def test_unknown_option_hints_at_the_closest(session):
    with pytest.raises(ArgumentError) as caught:
        session.groups["adam"][0]["beta"] = 0.9
    assert "'beta' is no option of Adam" in str(caught.value)
    assert "did you mean 'betas'?" in str(caught.value)


def test_move_puts_a_parameter_into_another_group(session):
    groups = session.groups["adam"]
    assert [groups[i].members for i in range(3)] == [("a",), ("b",), ()]
    groups.move("a", 1)
    assert [groups[i].members for i in range(3)] == [(), ("a", "b"), ()]
    assert session.get("a/group") == 1


def test_move_refuses_a_group_of_another_structure(session):
    with pytest.raises(StateError) as caught:
        session.groups["adam"].move("a", 2)
    assert "'a' cannot move from group 0 to 2: they differ in structure" in str(caught.value)
    assert "equal 'amsgrad'" in str(caught.value)


@pytest.mark.parametrize(("parameter", "index"), [("c", 0), ("a", 3), ("a", -1), ("a", True)])
def test_move_refuses_what_does_not_exist(session, parameter, index):
    with pytest.raises(ArgumentError):
        session.groups["adam"].move(parameter, index)
    assert session.get("a/group") == 0


def test_group_index_out_of_range_is_no_state(session):
    with pytest.raises(StateError, match="group 3 does not exist; the optimizer has 3"):
        session.set("a/group", 3)
    with pytest.raises(StateError, match="group -1 does not exist"):
        session.bind("a/group", np.array(-1, np.int32))


@pytest.mark.parametrize("number", [3, -4, np.int64(3)])
def test_group_that_does_not_exist(session, number):
    with pytest.raises(OutOfRangeError, match=f"adam: group {number} does not exist; there are 3"):
        session.groups["adam"][number]
    assert session.groups["adam"][np.int64(2)]["amsgrad"] is True
    assert [group["lr"] for group in session.groups["adam"][1:]] == [0.25] * 2


def test_option_that_is_asked_of_all_groups_says_what_to_write(session):
    groups = session.groups["adam"]
    for use in (lambda: groups["lr"], lambda: groups.__setitem__("lr", 0.1)):
        with pytest.raises(ArgumentTypeError, match="adam: 'lr' is no number of a group") as caught:
            use()
        assert "hint      session.groups['adam'][0]['lr'], for the first of 3" in str(caught.value)
    with pytest.raises(ArgumentTypeError, match="adam: group 0 is set option by option"):
        groups[0] = 0.1


def test_groups_that_are_bound_to_read_only_arrays_are_not_changed(session):
    for name in ("adam/groups/0/betas/1", "a/group"):
        memory = session.get(name)
        session.bind(name, memory)
        memory.flags.writeable = False
    with pytest.raises(StateError, match="'adam/groups/0/betas/1': the array"):
        session.groups["adam"][0]["betas"] = (0.5, 0.5)
    assert session.groups["adam"][0]["betas"] == (0.25, 0.25)
    with pytest.raises(StateError, match="'a/group': the array that it is bound to is read-only"):
        session.groups["adam"].move("a", 1)
    assert session.get("a/group") == 0


def test_groups_are_busy_while_the_session_runs(session):
    with session._use(), pytest.raises(SessionBusyError):
        session.groups["adam"][0]["lr"] = 1.0
