"""session.save and session.restore: one file, old or new, strict by name."""

import json
import os

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from documents import Program, plan, variable
from lazyflow.runtime import files
from lazyflow.runtime.errors import StateError

KINDS = [
    "bool",
    "uint8",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint32",
    "float16",
    "bfloat16",
    "float32",
    "float64",
]


def session():
    variables = [variable(kind, (2,), kind, 1) for kind in KINDS] + [variable("scalar", (), "int64", 7)]
    return plan(Program(dimensions=()), variables=variables).session("numpy")


def test_restore_gives_back_every_dtype(tmp_path):
    saved, fresh = session(), session()
    values = {kind: np.array([0, 1]).astype(saved.get(kind).dtype) for kind in KINDS}
    saved.load_state_dict({**values, "scalar": -3})
    saved.save(tmp_path / "run.safetensors")
    fresh.restore(tmp_path / "run.safetensors")
    for name, value in saved.state_dict().items():
        found = fresh.get(name)
        assert found.dtype == value.dtype
        np.testing.assert_array_equal(found, value)


@pytest.mark.parametrize(
    ("path", "error", "reason"),
    [
        (
            "missing/run.safetensors",
            FileNotFoundError,
            "No such file or directory: there is no folder '{}/missing'",
        ),
        ("folder", IsADirectoryError, "Is a directory"),
        (".", IsADirectoryError, "Is a directory"),
        ("file/run.safetensors", NotADirectoryError, "Not a directory: there is no folder '{}/file'"),
    ],
)
def test_path_that_cannot_be_written_is_named(tmp_path, path, error, reason):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(error) as caught:
        session().save(tmp_path / path)
    assert caught.value.filename == str(tmp_path / path)
    assert caught.value.strerror == reason.format(tmp_path)
    assert ".partial" not in str(caught.value)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_same_values_give_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        session().save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_file_is_readable_by_safetensors(tmp_path):
    made = plan(Program(dimensions=()), variables=[variable("w", (2, 3), initial=2.5)]).session("numpy")
    made.save(tmp_path / "run.safetensors")
    np.testing.assert_array_equal(load_file(tmp_path / "run.safetensors")["w"], np.full((2, 3), 2.5))


def test_restore_lists_what_does_not_fit_and_changes_nothing(tmp_path):
    live = session()
    save_file({"scalar": np.array([1, 2]), "extra": np.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(StateError) as caught:
        live.restore(tmp_path / "other.safetensors")
    text = str(caught.value)
    assert "missing   'bool', 'uint8'" in text
    assert "and 3 more" in text
    assert "extra     'extra'" in text
    assert "'scalar': the array has shape (2,)" in text
    assert live.get("scalar") == 7


def test_restore_that_is_not_strict_takes_what_there_is(tmp_path):
    live = session()
    save_file({"scalar": np.array(5)}, tmp_path / "part.safetensors")
    live.restore(tmp_path / "part.safetensors", strict=False)
    assert live.get("scalar") == 5


@pytest.mark.parametrize("data", [b"", b"not a checkpoint", b"\xff" * 64])
def test_file_that_is_no_checkpoint_is_refused(tmp_path, data):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(data)
    with pytest.raises(StateError, match="not a safetensors file"):
        session().restore(path)


def test_foreign_dtype_is_refused(tmp_path):
    save_file({"scalar": np.zeros(1, np.complex64)}, tmp_path / "c.safetensors")
    with pytest.raises(StateError, match="'scalar' has dtype C64"):
        session().restore(tmp_path / "c.safetensors")


def test_failing_save_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "run.safetensors"
    live = session()
    live.save(path)
    before = path.read_bytes()
    live.set("scalar", 8)

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        live.save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["run.safetensors"]


def test_bools_of_a_file_are_zero_or_one(tmp_path):
    live = session()
    live.save(tmp_path / "run.safetensors")
    data = bytearray((tmp_path / "run.safetensors").read_bytes())
    begin = 8 + int.from_bytes(data[:8], "little")
    data[begin + json.loads(data[8:begin])["bool"]["data_offsets"][0]] = 2
    (tmp_path / "odd.safetensors").write_bytes(data)
    live.restore(tmp_path / "odd.safetensors")
    assert live.get("bool").view(np.uint8).tolist() == [1, 1]


def test_bfloat16_keeps_its_bits(tmp_path):
    live = plan(Program(dimensions=()), variables=[variable("w", (3,), "bfloat16")]).session("numpy")
    values = np.array([0.1, -3.0, np.inf], ml_dtypes.bfloat16)
    live.set("w", values)
    live.save(tmp_path / "w")
    live.set("w", np.zeros(3, ml_dtypes.bfloat16))
    live.restore(tmp_path / "w")
    assert live.get("w").tobytes() == values.tobytes()
