"""The benchmarks run, with whichever peers there are."""

import shutil
import subprocess
import sys

import pytest

from repository import ROOT


def rows(*arguments, name="training.py"):
    """The first cells of the rows that the program prints, and all of it."""
    command = [sys.executable, ROOT / "benchmarks" / name, "--rounds", "1", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT.anchor)
    assert result.returncode == 0, result.stderr
    lines = [line.split("|") for line in result.stdout.splitlines() if line.startswith("| ")]
    return [cells[1].strip() for cells in lines if cells[1].strip()], result.stdout


@pytest.mark.parametrize(
    ("work", "expected"),
    [
        ("logistic", ["lazyflow run", "lazyflow run_many", "numpy by hand"]),
        ("MLP 784-128", ["lazyflow run", "lazyflow products", "numpy products"]),
        ("two", ["lazyflow run", "lazyflow products", "numpy products"]),
    ],
)
def test_steps_are_timed_in_each_way(work, expected):
    found, text = rows(
        "--threads", "1", "--seconds", "0.001", "--works", work, "--peers", "lazyflow", "numpy"
    )
    assert found == expected, text


def test_a_peer_that_is_not_installed_is_said_to_be_missing():
    found, text = rows("--threads", "1", "--seconds", "0.001", "--works", "logistic", "--peers", "oneflow")
    assert found == ["lazyflow run", "lazyflow run_many"]
    assert "oneflow: No module named 'oneflow'" in text


def test_products_are_timed_and_agree():
    found, text = rows("--threads", "1", "--dtype", "float64", name="products.py")
    assert [found[0], found[-1]] == ["logistic regression", "square"], text


@pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("gcc") is None,
    reason="the updates in C are compiled by gcc, with OpenMP",
)
@pytest.mark.parametrize(("name", "count"), [("updates.py", 4), ("recipe.py", 1)])
def test_updates_are_timed_beside_those_in_c(name, count):
    found, text = rows("--threads", "1", "--sets", "20 of 100", name=name)
    assert found == ["tensors", *["20 of 100"] * count], text


@pytest.mark.slow
def test_starts_are_timed():
    found, text = rows("--long-rounds", "1", "--tensors", "2", "--layers", "2", name="start.py")
    ours = [name for name in found if name.startswith("lazyflow")]
    assert ours == ["lazyflow", "lazyflow, saved plan", "lazyflow", "lazyflow"], text
