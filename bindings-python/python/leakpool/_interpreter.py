"""Refuses subinterpreters, before anything native is loaded: what is native belongs to the main interpreter."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def _current() -> int:
    """The number of the running interpreter; 0 = the main one."""
    # `_interpreters` from 3.13 on, `_xxsubinterpreters` before.
    for name in ("_interpreters", "_xxsubinterpreters"):
        try:
            module: Any = import_module(name)
        except ImportError:
            continue
        current = module.get_current()
        return int(current[0] if isinstance(current, tuple) else current)
    return 0


def check() -> None:
    """Raises ImportError in a subinterpreter."""
    if _current() != 0:
        raise ImportError("leakpool does not support subinterpreters: import it in the main interpreter")
