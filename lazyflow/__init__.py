"""lazyflow: training steps written once as symbolic graphs, compiled to plans that run and resume anywhere.

The public names stand once, in ``__init__.pyi``, for type checkers and for this file, which imports the
module of a name when the name is first asked for: ``import lazyflow.runtime`` does not pay for the front.
"""

import sys
from importlib import import_module
from types import ModuleType


def _read_names() -> dict[str, str]:
    stub = __spec__.loader.get_data(f"{__path__[0]}/__init__.pyi").decode()
    imports = (line.split() for line in stub.splitlines() if line.startswith("from "))
    return {name: module for _, module, _, name, _, _ in imports}  # from MODULE import NAME as NAME


_MODULES = _read_names()
__all__ = sorted(_MODULES)


def _is_submodule(name: str) -> bool:
    return _MODULES[name] == __name__


class _Package(ModuleType):
    """Keeps ``lazyflow.compile`` the function also after the module ``lazyflow/compile.py`` is imported."""

    def __setattr__(self, name: str, value: object) -> None:
        if name in _MODULES and not _is_submodule(name) and isinstance(value, ModuleType):
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        where = _elsewhere(name)
        hint = f"; there is {where}.{name}" if where else ""
        this = sys.modules[__name__]
        raise AttributeError(f"module 'lazyflow' has no attribute {name!r}{hint}", name=name, obj=this)
    if _is_submodule(name):
        return import_module(f"{__name__}.{name}")
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def _elsewhere(name: str) -> str | None:
    """The package that has a public name which this one has not."""
    packages = ("nn.functional", "nn", "optim", "optim.lr_scheduler")
    rooms = [import_module(f"{__name__}.{package}") for package in packages if not name.startswith("_")]
    return next((room.__name__ for room in rooms if name in room.__all__), None)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
