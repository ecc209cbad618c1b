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
    """Keeps ``lazyflow.compile`` the function also after the module ``lazyflow/compile.py`` is imported.

    And it keeps ``lazyflow.tensor`` a missing name, which has a hint: to call a module has none.
    """

    def __setattr__(self, name: str, value: object) -> None:
        if name == "tensor":
            return
        if name in _MODULES and not _is_submodule(name) and isinstance(value, ModuleType):
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        hint = None if name.startswith("_") else _instead(name)
        text = f"module 'lazyflow' has no attribute {name!r}" + (f"\n  hint      {hint}" if hint else "")
        raise AttributeError(text, name=name, obj=sys.modules[__name__])
    if _is_submodule(name):
        return import_module(f"{__name__}.{name}")
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def _instead(name: str) -> str | None:
    """What to write for a name that is not here: the package that has it, or what replaces it."""
    packages = ("nn.functional", "nn", "optim", "optim.lr_scheduler")
    rooms = [import_module(f"{__name__}.{package}") for package in packages]
    found = next((room.__name__ for room in rooms if name in room.__all__), None)
    hint: str | None = import_module(f"{__name__}.habits").OF_LAZYFLOW.get(name)
    return f"{found}.{name}" if found else hint


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
