"""Every error that lazyflow raises, in one tree.

LazyflowError
├── ShapeError (ValueError)               shapes or dimensions that do not fit
├── DTypeError (TypeError)                element types that do not fit
├── ArgumentError (ValueError)            an argument out of its range
│   └── ArgumentTypeError (TypeError)     an argument of the wrong type
├── SymbolicError (TypeError)             the number of a Tensor was asked for while the graph is built
├── GraphError (RuntimeError)             a call that the state of the graph or program forbids
├── GradientError (ValueError)            a gradient that does not exist
├── FeedError (ValueError)                a feed that is missing, unknown or does not fit
├── StateError (ValueError)               a state that does not fit the plan's variables
├── PlanError (ValueError)                a plan that does not verify or cannot be read
├── OutOfRangeError (IndexError)          an index out of range, found while a program ran; no such group
└── SessionBusyError (RuntimeError)       a session used from a second thread while it runs
"""

from __future__ import annotations


class LazyflowError(Exception):
    """Base of all errors of lazyflow."""


class ShapeError(LazyflowError, ValueError):
    """Shapes or dimensions do not fit."""


class DTypeError(LazyflowError, TypeError):
    """Element types do not fit."""


class ArgumentError(LazyflowError, ValueError):
    """An argument is out of its accepted range."""


class ArgumentTypeError(ArgumentError, TypeError):
    """An argument is of the wrong type."""


class SymbolicError(LazyflowError, TypeError):
    """The number of a Tensor was asked for while the graph is built."""


class GraphError(LazyflowError, RuntimeError):
    """A call that the state of the graph or of the program forbids."""


class GradientError(LazyflowError, ValueError):
    """A gradient was asked for that does not exist."""


class FeedError(LazyflowError, ValueError):
    """A feed is missing, unknown, or does not fit its placeholder."""


class StateError(LazyflowError, ValueError):
    """A state does not fit the variables of the plan."""


class PlanError(LazyflowError, ValueError):
    """A plan does not verify, or cannot be read."""


class OutOfRangeError(LazyflowError, IndexError):
    """An index is out of range: of an axis, while a program ran, which changed nothing; or of groups."""


class SessionBusyError(LazyflowError, RuntimeError):
    """A session was used from a second thread while it runs."""


for _class in (LazyflowError, *LazyflowError.__subclasses__(), ArgumentTypeError):
    _class.__module__ = "lazyflow"  # the name under which users catch it


def message(headline: str, /, **rows: object) -> str:
    """An error text: the headline, then one aligned row for each keyword that is not None.

    >>> print(message("lr: -1.0 is out of range", expected="a number >= 0", hint=None))
    lr: -1.0 is out of range
      expected  a number >= 0
    """
    lines = [f"  {label:<8}  {text}" for label, text in rows.items() if text is not None]
    return "\n".join([headline, *lines])
