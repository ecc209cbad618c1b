"""lazyflow: training steps written once as symbolic graphs, compiled to plans that run and resume anywhere.

The public names stand in ``__init__.pyi``, once, for type checkers and for this file, which imports a name's module
when the name is first asked for: ``import lazyflow.runtime`` does not pay for the front.
"""

import sys
from importlib import import_module
from types import ModuleType

_STUB = __spec__.loader.get_data(__spec__.submodule_search_locations[0] + "/__init__.pyi").decode()


def _read_names(stub: str) -> dict[str, tuple[str, str | None]]:
    """Read ``name -> (module, attribute)``; the attribute is None where the name is the module itself."""
    names = {}
    for line in stub.splitlines():
        match line.split():
            case ["from", module, "import", name, "as", public] if name == public:
                names[public] = (module, name)
            case ["import", module, "as", public]:
                names[public] = (module, None)
    return names


_NAMES = _read_names(_STUB)
__all__ = sorted(_NAMES)


class _Package(ModuleType):
    """A package in which ``lazyflow.compile`` stays the function when the module ``lazyflow/compile.py`` is imported."""

    def __setattr__(self, name: str, value: object) -> None:
        module, attribute = _NAMES.get(name, (None, None))
        if attribute and isinstance(value, ModuleType) and module == value.__name__:
            value = getattr(value, attribute)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> object:
    if name not in _NAMES:
        raise AttributeError(f"module 'lazyflow' has no attribute {name!r}", name=name, obj=sys.modules[__name__])
    module, attribute = _NAMES[name]
    value = import_module(module)
    globals()[name] = getattr(value, attribute) if attribute else value
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
