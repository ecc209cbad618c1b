"""Which numbers of an optimizer's groups a scheduler makes."""

from __future__ import annotations

from typing import Any

from lazyflow.optim.lr_scheduler.settings import Setting
from lazyflow.optim.optimizer import Optimizer
from lazyflow.runtime.errors import ArgumentError, message


class Driven(Setting[Any]):
    """The number of the groups that a scheduler makes: OPTION, or OPTION/INDEX for one of a tuple.

    Its name is that of the base in the state: "betas/0" for ``adam/groups/0/betas/0``.
    """

    @property
    def expected(self) -> str:
        """What is accepted, in words."""
        return 'the name of an option that is a number, such as "lr", "weight_decay" or "betas/0"'

    def __get__(self, scheduler: Any, owner: type) -> Any:
        """The name given; of a composition without one, that of its parts."""
        if scheduler is None:
            return self
        given = scheduler.__dict__[self.name]
        return scheduler.option_of_parts if given is None else given

    def __set__(self, scheduler: Any, value: Any) -> None:
        owner, here = type(scheduler).__name__, f"at {scheduler.location}"
        if value is not None or self.default is not None:
            self._check_name(value, scheduler.optimizer, owner, here)
        scheduler.__dict__[self.name] = value

    def _check_name(self, value: object, optimizer: Optimizer, owner: str, here: str) -> None:
        if not isinstance(value, str):
            self._refuse_type(value, "is no string", owner, here)
        if not groups_with(optimizer, value):
            text = f"{owner}: option={value!r} is no number of {optimizer.name!r}"
            names = dict.fromkeys(name for group in optimizer.param_groups for name in group.names)
            hint = why_not(optimizer, value)
            raise ArgumentError(message(text, expected=", ".join(names), here=here, hint=hint))


def groups_with(optimizer: Optimizer, name: str) -> list[int]:
    """The groups that have a number of this name."""
    return [i for i, group in enumerate(optimizer.param_groups) if name in group.names]


def why_not(optimizer: Optimizer, name: str) -> str | None:
    """What to write instead of a name that no group has."""
    kind, declared = type(optimizer).__name__, optimizer.options.get(name)
    if declared is None:
        return None
    if isinstance(declared.default, tuple):
        return " or ".join(f'option="{name}/{i}"' for i in range(len(declared.default)))
    if declared.is_flag or declared.fixed:
        return f"{name} decides which terms an update has, so it is fixed when the graph is compiled"
    absent = "None" if declared.absent is None else f"{declared.absent:g}"
    return f"{name}={absent} leaves the term out of the update: {kind}(..., {name}=...) puts it in"
