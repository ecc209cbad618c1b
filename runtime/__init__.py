"""Plan in, numbers out: the plan format, sessions and backends."""

from importlib import import_module

__all__ = ["Plan", "Session", "errors", "load_plan"]


def __getattr__(name: str) -> object:
    # imported when first asked for: a module of this package that needs none of them loads none of them
    if name in ("Plan", "load_plan"):
        return getattr(import_module("lazyflow.runtime.plan"), name)
    if name == "Session":
        return import_module("lazyflow.runtime.session").Session
    if name == "errors":
        return import_module("lazyflow.runtime.errors")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
