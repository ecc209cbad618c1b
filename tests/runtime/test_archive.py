"""The .lfplan file, and the fingerprint of a plan."""

import json
import subprocess
import sys
import zipfile

import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from documents import Program, call, document, literal, plan, variable
from lazyflow.runtime import schema
from lazyflow.runtime.errors import ArgumentTypeError, PlanError
from lazyflow.runtime.plan import Plan, load_plan

TABLE = np.array([1.0, 2.0, 3.0], np.float32)


def training(**tables):
    """w += table * x, with the fetch "w"."""
    p = Program("train", dimensions=())
    x, w, table, y = p.feed("x", ()), p.variable("w", (3,)), p.constant("table", (3,)), p.arena((3,))
    p.kernel(
        [w, table, x.access((0,))],
        [call("mul", 1, 2), call("add", 0, 3)],
        [(4, w), (4, y)],
    )
    p.fetch("w", y)
    constants = [schema.Constant(name="table", dtype="float32", shape=(3,))]
    return plan(p, variables=[variable("w", (3,))], constants=constants, arrays={"table": TABLE}, **tables)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "train.lfplan"
    training().save(path)
    return path


def rewritten(path, **members):
    """The file with some members replaced, or left out where they are None."""
    with zipfile.ZipFile(path) as archive:
        old = {info.filename: archive.read(info) for info in archive.infolist()}
    new = {**old, **{name.replace("_", ".", 1): data for name, data in members.items()}}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in new.items():
            if data is not None:
                archive.writestr(name, data)
    return path


def test_loaded_plan_is_equal_and_runs(path):
    loaded = load_plan(path)
    assert loaded.document == training().document
    np.testing.assert_array_equal(loaded.constants["table"], TABLE)
    assert loaded.session("numpy").run("train", x=2.0)["w"].tolist() == [2, 4, 6]


def test_plan_saved_with_a_state_goes_on_from_it(tmp_path):
    session = training().session("numpy")
    session.run("train", x=1.0)
    training().save(tmp_path / "a.lfplan", session)
    training().save(tmp_path / "b.lfplan", session.state_dict())
    for name in ("a.lfplan", "b.lfplan"):
        assert load_plan(tmp_path / name).session("numpy").run("train", x=1.0)["w"].tolist() == [2, 4, 6]


def test_loaded_state_is_saved_again(tmp_path):
    session = training().session("numpy")
    session.run("train", x=1.0)
    training().save(tmp_path / "a.lfplan", session)
    load_plan(tmp_path / "a.lfplan").save(tmp_path / "b.lfplan")
    assert (tmp_path / "a.lfplan").read_bytes() == (tmp_path / "b.lfplan").read_bytes()


def test_state_that_does_not_fit_is_refused(tmp_path):
    with pytest.raises(PlanError, match="variable 'w' is missing"):
        training().save(tmp_path / "a.lfplan", {})
    with pytest.raises(PlanError, match=r"variable 'w' is float64\[3\], declared float32\[3\]"):
        training().save(tmp_path / "a.lfplan", {"w": np.zeros(3)})
    with pytest.raises(ArgumentTypeError, match="state is int"):
        training().save(tmp_path / "a.lfplan", 3)


def test_same_plan_gives_the_same_bytes(tmp_path, path):
    training().save(tmp_path / "again.lfplan")
    assert (tmp_path / "again.lfplan").read_bytes() == path.read_bytes()


def test_file_holds_no_pickle_and_is_readable(path):
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist() == ["version.json", "plan.json", "constants.safetensors"]
        assert json.loads(archive.read("plan.json"))["programs"][0]["name"] == "train"


def test_newer_major_version_is_refused(path):
    rewritten(path, version_json=b'{"format": "lfplan", "version": [2, 0]}', plan_json=b"not even JSON")
    with pytest.raises(PlanError) as caught:
        load_plan(path)
    assert "written in version 2.0 of the format" in str(caught.value)
    assert "1.0 or older" in str(caught.value)


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"version_json": None}, "version.json is missing"),
        ({"version_json": b'{"format": "x", "version": [1, 0]}'}, "not a .lfplan file, but 'x'"),
        ({"plan_json": None}, "plan.json is missing"),
        ({"plan_json": b"{"}, "plan.json: "),
        ({"plan_json": b'{"name": 3}'}, "Expected `str`, got `int`"),
        ({"plan_json": b'{"name": "a", "code": "import os"}'}, "unknown field `code`"),
        ({"constants_safetensors": b"x"}, "constants.safetensors: not a safetensors file"),
        ({"constants_safetensors": None}, "constants.safetensors is missing"),
        ({"code_py": b"import os"}, "unexpected member 'code.py'"),
    ],
)
def test_damaged_file_is_refused_with_the_reason(path, members, reason):
    with pytest.raises(PlanError) as caught:
        load_plan(rewritten(path, **members))
    assert reason in str(caught.value)


def test_packed_members_are_refused(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("version.json", b'{"format": "lfplan", "version": [1, 0]}')
    with pytest.raises(PlanError, match="packed or encrypted"):
        load_plan(path)


def test_truncated_file_is_refused(path):
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(PlanError, match=r"not a \.lfplan file, or a damaged one"):
        load_plan(path)


def test_flipped_bit_is_found(path):
    data = bytearray(path.read_bytes())
    data[data.index(b'"programs"')] ^= 1
    path.write_bytes(data)
    with pytest.raises(PlanError, match="Bad CRC-32"):
        load_plan(path)


def test_constant_that_is_not_as_declared_is_refused(path):
    made = training()
    with pytest.raises(PlanError, match="constant 'table' is missing"):
        Plan(made.document, {})
    with pytest.raises(PlanError, match=r"constant 'table' is float64\[3\], declared float32\[3\]"):
        Plan(made.document, {"table": TABLE.astype(float)})
    with pytest.raises(PlanError, match="constant 'more' is not declared"):
        Plan(made.document, {"table": TABLE, "more": TABLE})


def test_loading_verifies(path):
    made = training().document
    shorter = replace(made.variables[0], shape=(2,))
    data = replace(made, variables=(shorter,))
    with pytest.raises(PlanError, match="not the memory of a variable 'w'"):
        load_plan(rewritten(path, plan_json=msgspec.json.encode(data)))


def test_fingerprint_leaves_out_origins_reasons_and_source():
    made = training()
    program = made.document.programs[0]
    step = replace(program.instructions[0], origin=(0,))
    feed = replace(program.feeds[0], location="b.py:2")
    told = replace(
        made.document,
        origins=(schema.Origin(name="add", location="a.py:1"),),
        reasons=(schema.Reason(decision="fuse", code="x", text="y"),),
        source="%0 = ...",
        programs=(replace(program, instructions=(step,), feeds=(feed,)),),
    )
    assert Plan(told, made.constants).fingerprint == made.fingerprint


def test_fingerprint_tells_what_is_computed_apart():
    made = training()
    other = Plan(made.document, {"table": TABLE + 1})
    initial = Plan(replace(made.document, variables=(variable("w", (3,), initial=1.0),)), made.constants)
    assert len({made.fingerprint, other.fingerprint, initial.fingerprint}) == 3


def test_plan_runs_without_the_front_networkx_and_scipy(path):
    code = f"""
import sys
from lazyflow.runtime import load_plan
session = load_plan({str(path)!r}).session("numpy")
print(session.run("train", x=2.0)["w"].tolist())
loaded = {{name.split(".")[0] for name in sys.modules}} | set(sys.modules)
print(sorted(loaded & {{"networkx", "scipy", "llvmlite", "lazyflow.compiler", "lazyflow.tensor"}}))
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines() == ["[2.0, 4.0, 6.0]", "[]"]


def test_empty_document_is_a_plan(tmp_path):
    Plan(document(), {}).save(tmp_path / "empty.lfplan")
    assert load_plan(tmp_path / "empty.lfplan").document == document()


def test_literals_survive_the_file(tmp_path):
    p = Program(dimensions=())
    values = [0.1, "inf", "-inf", "nan", 3, 1e-300]
    outs = [p.arena((), "float64") for _ in values]
    body = [literal(value, "float64") for value in values]
    p.kernel([], body, list(enumerate(outs)), space=())
    for number, out in enumerate(outs):
        p.fetch(f"y{number}", out)
    plan(p).save(tmp_path / "l.lfplan")
    found = load_plan(tmp_path / "l.lfplan").session("numpy").run("main")
    np.testing.assert_array_equal(
        [found[f"y{i}"] for i in range(6)], [0.1, np.inf, -np.inf, np.nan, 3, 1e-300]
    )


@pytest.mark.parametrize("path", [None, 3])
def test_what_is_no_path_is_refused(path):
    with pytest.raises(TypeError, match=r"expected str, bytes or os\.PathLike object"):
        load_plan(path)
