"""The benchmarks of training steps and of products run, the former with whichever peers there are."""

import subprocess
import sys

import pytest

from repository import ROOT


def rows(*arguments, name="training.py"):
    """The first cells of the rows that the program prints, and all of it."""
    command = [sys.executable, ROOT / "benchmarks" / name, "--rounds", "1", "--threads", "1", *arguments]
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
    found, text = rows("--seconds", "0.001", "--works", work, "--peers", "lazyflow", "numpy")
    assert found == expected, text


def test_a_peer_that_is_not_installed_is_said_to_be_missing():
    found, text = rows("--seconds", "0.001", "--works", "logistic", "--peers", "oneflow")
    assert found == ["lazyflow run", "lazyflow run_many"]
    assert "oneflow: No module named 'oneflow'" in text


def test_products_are_timed_and_agree():
    found, text = rows("--dtype", "float64", name="products.py")
    assert [found[0], found[-1]] == ["logistic regression", "square"], text
