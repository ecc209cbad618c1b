"""Every public name says what it is, and the examples in docstrings give what they show."""

import doctest
import inspect
from importlib import import_module

import pytest

import lazyflow
from repository import MODULES

GENERATED = ("cuda",)  # import needs a GPU
IMPORTABLE = [name for name in MODULES if not set(name.split(".")) & set(GENERATED)]


def public_members(owner, defining):
    """Yield ``name, member`` of the public classes and functions that the module defines."""
    for name, member in vars(owner).items():
        plain = member.__func__ if isinstance(member, (staticmethod, classmethod)) else member
        kind = inspect.isclass(plain) or inspect.isfunction(plain) or isinstance(plain, property)
        home = getattr(plain.fget if isinstance(plain, property) else plain, "__module__", None)
        if kind and not name.startswith("_") and home in (defining, "lazyflow"):
            yield name, plain


def undocumented(owner, defining):
    for name, member in public_members(owner, defining):
        if not is_documented(member) and not inherits_docstring(owner, name):
            yield name
        if inspect.isclass(member):
            yield from (f"{name}.{inner}" for inner in undocumented(member, defining))


def is_documented(member):
    text = vars(member).get("__doc__") if inspect.isclass(member) else member.__doc__
    return bool(text) and not text.startswith(f"{getattr(member, '__name__', '')}(")  # as dataclasses make


def inherits_docstring(owner, name):
    """A method that fulfils a documented one of a base class needs no words of its own."""
    bases = owner.__mro__[1:] if inspect.isclass(owner) else ()
    return any(is_documented(vars(base)[name]) for base in bases if name in vars(base))


@pytest.mark.parametrize("name", IMPORTABLE)
def test_every_public_name_has_a_docstring(name):
    module = import_module(name)
    assert module.__doc__, f"{name} has no docstring"
    missing = list(undocumented(module, name))
    assert not missing, f"{name}: no docstring: {', '.join(missing)}"


@pytest.mark.parametrize("name", IMPORTABLE)
def test_docstring_examples(name):
    # by its import name: pytest's own --doctest-modules would load compiler/ and runtime/ a second time
    report = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    for example in doctest.DocTestFinder(exclude_empty=True).find(import_module(name)):
        runner.run(example, out=report.append)
    assert not runner.failures, "".join(report)


def test_every_name_of_the_package_can_be_had_and_is_documented():
    missing = [name for name in lazyflow.__all__ if not has_words(getattr(lazyflow, name))]
    assert not missing, f"no docstring: {missing}"


def has_words(value):
    callable_or_module = callable(value) or inspect.ismodule(value)
    return not callable_or_module or bool(inspect.getdoc(value))
