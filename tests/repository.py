"""Where the repository's modules lie and what they are called when installed."""

import ast
import tomllib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
FLOORS = {
    "lazyflow": "lazyflow",
    "compiler": "lazyflow.compiler",
    "runtime": "lazyflow.runtime",
}  # folder: package


@dataclass(frozen=True)
class Module:
    """One source file and its import name."""

    path: Path

    @cached_property
    def name(self) -> str:
        folder, *inner = self.path.relative_to(ROOT).with_suffix("").parts
        return ".".join([FLOORS[folder], *inner]).removesuffix(".__init__")

    @property
    def is_package(self) -> bool:
        return self.path.name == "__init__.py"

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.path.read_text(encoding="utf-8"), str(self.path))

    def place(self, node: ast.AST) -> str:
        return f"{self.path.relative_to(ROOT)}:{node.lineno}"


MODULES = {m.name: m for folder in FLOORS for m in map(Module, sorted((ROOT / folder).rglob("*.py")))}
