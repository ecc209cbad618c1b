"""The limits that keep the code readable: lines per file and per function, and nesting."""

import ast

import pytest

from repository import MODULES

FILE_LINES, FUNCTION_LINES, NESTING = 500, 50, 3
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
BLOCKS = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.Match)


def functions(tree):
    return [node for node in ast.walk(tree) if isinstance(node, FUNCTIONS)]


def length(function):
    """Lines of a function, less its docstring."""
    first = function.body[0]
    documented = ast.get_docstring(function) is not None
    return function.end_lineno - function.lineno + 1 - documented * (first.end_lineno - first.lineno + 1)


def depth(node, parent=None):
    """How many blocks stand inside each other; an elif is as deep as its if, and a function starts anew."""
    children = [child for child in ast.iter_child_nodes(node) if not isinstance(child, FUNCTIONS)]
    elif_ = isinstance(node, ast.If) and isinstance(parent, ast.If) and parent.orelse == [node]
    own = isinstance(node, BLOCKS) and not elif_
    return own + max((depth(child, node) for child in children), default=0)


@pytest.mark.parametrize("module", MODULES.values(), ids=MODULES)
def test_module_is_readable(module):
    lines = len(module.path.read_text().splitlines())
    assert lines <= FILE_LINES, f"{module.name}: {lines} lines"
    found = functions(module.tree)
    long = [f"{module.place(f)}: {f.name}: {length(f)} lines" for f in found if length(f) > FUNCTION_LINES]
    deep = [f"{module.place(f)}: {f.name}: {depth(f)} deep" for f in found if depth(f) > NESTING]
    assert not long + deep, "\n".join(long + deep)


def test_depth_counts_blocks_but_not_elif():
    assert depth(ast.parse("def f():\n if a:\n  for b in c:\n   while d:\n    with e: pass").body[0]) == 4
    assert depth(ast.parse("def f():\n if a: pass\n elif b: pass\n elif c:\n  if d: pass").body[0]) == 2
