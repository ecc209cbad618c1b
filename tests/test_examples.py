"""Every example runs as a user runs it, without a warning, and ends with the line it promises."""

import re
import subprocess
import sys

import pytest

from repository import ROOT

LAST_LINES = {  # file name: a regular expression that the whole last line matches
    "custom_optimizer.py": r"Cautious: loss 1\.\d{3} -> 0\.000\d",
    "external_gradients.py": r"largest error of the weights 0\.0\d{3}",
    "train_digits.py": r"test accuracy (9[789]|100)\.\d %",
}


def test_every_example_is_listed():
    assert sorted(LAST_LINES) == sorted(path.name for path in (ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("name", LAST_LINES)
def test_example(name, tmp_path):
    command = [sys.executable, "-X", "utf8", "-W", "error", ROOT / "examples" / name]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, encoding="utf-8", timeout=120)
    assert result.returncode == 0, result.stderr
    assert re.fullmatch(LAST_LINES[name], result.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", LAST_LINES)
def test_example_is_short(name):
    assert len((ROOT / "examples" / name).read_text().splitlines()) <= 80
