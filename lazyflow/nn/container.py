"""Modules that hold other modules: Sequential and ModuleList."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar, overload

from lazyflow.location import user_line
from lazyflow.nn.module import Module
from lazyflow.runtime.errors import ArgumentTypeError, message

C = TypeVar("C", bound="Container")


class Container(Module):
    """Modules in order, named by their position; a module may stand at several."""

    def _held(self) -> list[tuple[str, Module]]:
        return [(key, value) for key, value in vars(self).items() if isinstance(value, Module)]

    def append(self: C, module: Module) -> C:
        """Add a module at the end."""
        return self.extend([module])

    def extend(self: C, modules: Iterable[Module]) -> C:
        """Add modules at the end."""
        for module in modules:
            self._add(str(len(self)), module)
        return self

    def _add(self, key: str, module: object) -> None:
        if not isinstance(module, Module):
            raise ArgumentTypeError(
                message(
                    f"{type(self).__name__}: {module!r} is no Module",
                    here=f"at {user_line()}",
                    hint=_mended(self, module),
                )
            )
        setattr(self, key, module)

    def __len__(self) -> int:
        return len(self._held())

    def __iter__(self) -> Iterator[Module]:
        return iter([module for _, module in self._held()])

    @overload
    def __getitem__(self, index: int) -> Any: ...

    @overload
    def __getitem__(self: C, index: slice) -> C: ...

    def __getitem__(self: C, index: int | slice) -> Any:
        if isinstance(index, slice):
            part = type(self)()
            for key, module in self._held()[index]:
                setattr(part, key, module)
            return part
        return self._held()[index][1]

    def __setitem__(self, index: int, module: Module) -> None:
        self._add(self._held()[index][0], module)


class Sequential(Container):
    """Modules applied one after the other.

    Args:
        *modules: The modules, named "0", "1", ...; or one mapping of names to modules.
        name: Begins the names of the parameters.

    Example:
        >>> from lazyflow import nn
        >>> nn.Sequential(nn.Linear(64, 10), nn.ReLU())
        Sequential(
          (0): Linear(in_features=64, out_features=10, bias=True)
          (1): ReLU()
        )
    """

    def __init__(self, *modules: Module | Mapping[str, Module], name: str | None = None) -> None:
        super().__init__(name)
        first = modules[0] if len(modules) == 1 else None
        named = first if isinstance(first, Mapping) else {str(i): m for i, m in enumerate(modules)}
        for key, module in named.items():
            self._add(key, module)

    def forward(self, x: Any) -> Any:
        for module in self:
            x = module(x)
        return x


class ModuleList(Container):
    """A list of modules whose parameters belong to the module that holds the list.

    Args:
        modules: The modules, named "0", "1", ...
        name: Begins the names of the parameters.
    """

    def __init__(self, modules: Iterable[Module] = (), name: str | None = None) -> None:
        super().__init__(name)
        self.extend(modules)


def _mended(container: Container, module: object) -> str | None:
    """What to write in place of something that is no module."""
    if isinstance(module, type) and issubclass(module, Module):
        return f"{module.__name__}(...), a module of that class"
    if isinstance(module, list | tuple):
        return f"{type(container).__name__}(*modules), each one by itself"
    if callable(module):
        return "a class derived from nn.Module whose forward() calls the function"
    return None
