"""What a module imports, read from its text: imports inside functions and under TYPE_CHECKING count too."""

import ast
from collections.abc import Iterator

from repository import MODULES, Module

COMPUTED = "?"  # stands for a name that the text does not tell


def imports(module: Module) -> Iterator[tuple[str, ast.AST]]:
    """Yield the name of each imported module, ours or not, and the node that imports it."""
    for node in ast.walk(module.tree):
        for name in _names(node):
            yield name, node


def _names(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Import(names=aliases):
            yield from (alias.name for alias in aliases)
        case ast.ImportFrom(module=origin, names=aliases, level=0):
            yield from {_defining(origin, alias.name) for alias in aliases}
        case ast.ImportFrom(module=origin, level=level):
            yield "." * level + (origin or "")
        case ast.Call(
            func=ast.Name("import_module") | ast.Attribute(attr="import_module"), args=[argument, *_]
        ):
            yield argument.value if isinstance(argument, ast.Constant) else COMPUTED


def _defining(origin: str, name: str) -> str:
    return f"{origin}.{name}" if f"{origin}.{name}" in MODULES else origin
