"""The pages of docs/ that list things list all of them, and nothing that is not there."""

import builtins
import re

import pytest

import lazyflow as lf
from lazyflow import nn, optim
from lazyflow.runtime import errors
from repository import ROOT

DOCS = ROOT / "docs"
PAGES = sorted(path.name for path in DOCS.glob("*.md") if path.name != "README.md")


def rows(page):
    """The cells of every row of the page's tables, headers left out."""
    text = (DOCS / page).read_text(encoding="utf-8")
    lines = [line.strip("|").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in cells] for cells in lines if not set(cells[0].strip()) <= {"-"}]


def listed(start):
    """The names in the second column of the rows of docs/models.md that begin with ``start``."""
    names = [re.findall(r"`(\w+)`", cells[1]) for cells in rows("models.md") if cells[0].startswith(start)]
    return {name for group in names for name in group}


def test_models_lists_the_names_of_lf():
    others = "".join((DOCS / page).read_text(encoding="utf-8") for page in ("plans.md", "errors.md"))
    assert listed("`lf`") <= set(lf.__all__)
    missing = set(lf.__all__) - listed("`lf`") - {"nn", "optim"}
    assert not [name for name in missing if not re.search(rf"\b{name}\b", others)]


def initializers():
    inner = ("fans",)  # what initializers share
    found = {
        name
        for name, value in vars(nn.init).items()
        if getattr(value, "__module__", "") == "lazyflow.nn.init"
    }
    return {name for name in found if name not in inner and not name.startswith("_")}


@pytest.mark.parametrize(
    ("start", "names"),
    [
        ("`nn`: modules", set(nn.__all__) - {"functional", "init"}),
        ("`nn.functional`", set(nn.functional.__all__)),
        ("`nn.init`", initializers()),
    ],
    ids=["nn", "nn.functional", "nn.init"],
)
def test_models_lists_the_names_of(start, names):
    assert listed(start) == names


def optimizers():
    found = [name for name in optim.__all__ if isinstance(getattr(optim, name), type)]
    return {name for name in found if issubclass(getattr(optim, name), optim.Optimizer)} - {"Optimizer"}


def test_optimizers_lists_the_optimizers():
    names = [re.findall(r"`(\w+)`", cells[0]) for cells in rows("optimizers.md") if "`" in cells[0]]
    assert {name for group in names for name in group} == optimizers()


def test_errors_lists_the_tree():
    told = {name.strip("`"): base.strip("`") for name, base, _ in rows("errors.md")[1:12]}
    tree = errors.LazyflowError.__subclasses__()
    assert told.keys() == {error.__name__ for error in tree}
    for name, base in told.items():
        assert issubclass(getattr(lf, name), getattr(builtins, base))


@pytest.mark.parametrize("page", PAGES)
def test_the_index_has_every_page(page):
    assert f"]({page})" in (DOCS / "README.md").read_text(encoding="utf-8")
