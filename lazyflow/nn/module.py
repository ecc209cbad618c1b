"""Module: what layers and models derive from. Its attributes give the state its names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from copy import deepcopy
from functools import partial
from typing import Any, TypeVar

from lazyflow.context import current_graph
from lazyflow.location import user_line
from lazyflow.runtime.errors import ArgumentTypeError, GraphError, message
from lazyflow.variable import Parameter, Variable

M = TypeVar("M", bound="Module")


class Module:
    """A part of a model: parameters, modules inside of it, and ``forward``, which appends the ops.

    It may be made outside of a graph; the first graph that calls it adopts its parameters. A parameter is
    named by the path of attributes from the root module, such as ``encoder.0.weight``, unless it was given a
    name; where several modules hold one, the first gives the path. Names are final at compile.

    Args:
        name: Begins the names of all parameters inside, in place of the path that leads here.

    Attributes:
        training: Whether calls build the training form (dropout drops); see ``train`` and ``eval``.

    Example:
        >>> import lazyflow as lf
        >>> from lazyflow import nn
        >>> class Scale(nn.Module):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.factor = lf.Parameter(1.0, shape=(3,))
        ...     def forward(self, x):
        ...         return x * self.factor
        >>> model = nn.Sequential(Scale(), nn.ReLU())
        >>> [name for name, _ in model.named_parameters()]
        ['0.factor']
    """

    # Defaults on the class, so that a module whose __init__ does not call this one works as well.
    training: bool = True
    _name: str = ""
    _place: tuple[Module, str] | None = None  # the first module that held it, and as which attribute
    _calls: int = 0

    def __init__(self, name: str | None = None) -> None:
        if name is not None:
            self._name = _check_name(name, type(self).__name__)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Append the module's ops and return its output. Subclasses say how.

        Raises:
            GraphError: where the subclass has none.
        """
        raise GraphError(
            message(
                f"{type(self).__name__} has no forward()",
                here=f"at {user_line()}",
                hint="def forward(self, x): return ...",
            )
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """``forward``, with the module's path before the names of its ops."""
        graph = current_graph(f"{type(self).__name__}()")
        scope = self._scope()
        self._calls += 1
        try:
            with graph.scoped(scope) if scope else nullcontext():
                return self.forward(*args, **kwargs)
        finally:
            self._calls -= 1

    # --- names ----------------------------------------------------------------------------------------------

    @property
    def path(self) -> str:
        """The name; else the attributes that lead here from the root module, joined by dots."""
        if self._name or self._place is None:
            return self._name
        parent, key = self._place
        return _join(parent.path, key)

    def _scope(self) -> str:
        """The path from the nearest module around this one that is being called."""
        if self._name or self._place is None:
            return self._name
        parent, key = self._place
        return key if parent._calls else _join(parent._scope(), key)

    def __setattr__(self, key: str, value: Any) -> None:
        _release(self, key)
        if isinstance(value, Variable) and value.naming is None:
            value.owner = (self, key)
            value.naming = partial(_variable_name, self, key)
        elif isinstance(value, Module):
            _adopt(self, key, value)
        object.__setattr__(self, key, value)

    def __delattr__(self, key: str) -> None:
        _release(self, key)
        object.__delattr__(self, key)

    def __deepcopy__(self: M, memo: dict[int, Any]) -> M:
        """A module of its own, with parameters of its own: a root, unless its parent is being copied."""
        fresh = memo[id(self)] = object.__new__(type(self))
        for key, value in vars(self).items():
            if key != "_place" or (value and id(value[0]) in memo):
                object.__setattr__(fresh, key, deepcopy(value, memo))
        return fresh

    # --- what it holds --------------------------------------------------------------------------------------

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Yield the modules that are attributes of this one, each once, with their names."""
        seen = set()
        for key, value in vars(self).items():
            if isinstance(value, Module) and value not in seen:
                seen.add(value)
                yield key, value

    def children(self) -> Iterator[Module]:
        """Yield the modules that are attributes of this one, each once."""
        return (child for _, child in self.named_children())

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """Yield this module and all inside of it, each once, with their paths from here."""
        return _walk(self, prefix, set())

    def modules(self) -> Iterator[Module]:
        """Yield this module and all inside of it, each once."""
        return (module for _, module in self.named_modules())

    def named_parameters(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Parameter]]:
        """Yield the parameters with their paths from here; one that is shared comes once.

        Args:
            prefix: What the paths begin with.
            recurse: Whether those of the modules inside come too.
        """
        seen = set()
        for path, module in self.named_modules(prefix) if recurse else [(prefix, self)]:
            for key, value in vars(module).items():
                if isinstance(value, Parameter) and value not in seen:
                    seen.add(value)
                    yield _join(path, key), value

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Yield the parameters, each once: what optimizers take."""
        return (parameter for _, parameter in self.named_parameters(recurse=recurse))

    # --- modes ----------------------------------------------------------------------------------------------

    def train(self: M, mode: bool = True) -> M:
        """Build the training form in the calls that follow, here and in all modules inside.

        The choice is read when the module is called, so that one graph may hold both forms.
        """
        if not isinstance(mode, bool):
            raise ArgumentTypeError(f"train: mode {mode!r} is no bool")
        for module in self.modules():
            module.training = mode
        return self

    def eval(self: M) -> M:
        """Build the form that predicts in the calls that follow; see ``train``."""
        return self.train(False)

    # --- text -----------------------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """What stands between the parentheses of the module's text."""
        return ""

    def __repr__(self) -> str:
        lines = [f"({key}): {child!r}".replace("\n", "\n  ") for key, child in self.named_children()]
        if not lines:
            return f"{type(self).__name__}({self.extra_repr()})"
        lines = [self.extra_repr(), *lines] if self.extra_repr() else lines
        return "\n  ".join([f"{type(self).__name__}(", *lines]) + "\n)"


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _variable_name(module: Module, key: str) -> str:
    return _join(module.path, key)


def _check_name(name: object, call: str) -> str:
    if not isinstance(name, str) or not name:
        raise ArgumentTypeError(f"{call}: name {name!r} is not a name; expected a string")
    return name


def _adopt(parent: Module, key: str, child: Module) -> None:
    """Let the child's path begin with the parent's, unless it has a parent already."""
    around: Module | None = parent
    while around is not None:
        if around is child:
            raise GraphError(
                message(
                    f"{type(child).__name__} would hold itself as {key!r}",
                    here=f"at {user_line()}",
                    hint="pass it to forward() instead of keeping it as an attribute",
                )
            )
        around = around._place[0] if around._place else None
    if child._place is None:
        child._place = (parent, key)


def _release(module: Module, key: str) -> None:
    """Forget that the module names what its attribute holds."""
    held = vars(module).get(key)
    if isinstance(held, Module) and held._place == (module, key):
        held._place = None
    elif isinstance(held, Variable) and held.owner == (module, key):
        held.owner = held.naming = None


def _walk(module: Module, path: str, seen: set[Module]) -> Iterator[tuple[str, Module]]:
    if module in seen:
        return
    seen.add(module)
    yield path, module
    for key, child in module.named_children():
        yield from _walk(child, _join(path, key), seen)
