"""What a COPY statement says of itself: whether it copies with the client, and which way."""

from __future__ import annotations

import re
from typing import Literal

from .errors import ProgrammingError

#: What in a statement is neither keyword nor punctuation: texts, quoted names, comments.
_OPAQUE = re.compile(
    r"""--[^\n]*|/\*.*?\*/|[eE]'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|"(?:[^"]|"")*"|\$(\w*)\$.*?\$\1\$""",
    re.DOTALL,
)


def _outside(sql: str) -> str:
    """The statement without texts, quoted names, comments, and what stands in parentheses."""
    outside, depth = [], 0
    for char in _OPAQUE.sub(" ", sql):
        depth += (char == "(") - (char == ")")
        outside.append(char if depth == 0 else " ")
    return "".join(outside)


def _way(statement: str) -> Literal["in", "out"] | None:
    if not re.match(r"\s*copy\b", statement, re.IGNORECASE):
        return None
    if re.search(r"\bfrom\s+stdin\b", statement, re.IGNORECASE):
        return "in"
    if re.search(r"\bto\s+stdout\b", statement, re.IGNORECASE):
        return "out"
    return None


def is_copy(sql: str) -> bool:
    """One of these statements copies from or to the client."""
    return any(_way(statement) for statement in _outside(sql).split(";"))


def direction(sql: str) -> Literal["in", "out"]:
    """Whether a statement copies in or out. Refuses what is no COPY with the client, before it is run."""
    statement, _, rest = _outside(sql).partition(";")
    way = _way(statement)
    if way is None:
        shown = " ".join(sql.split())
        raise ProgrammingError(
            "copy() should be used only with COPY ... TO STDOUT or COPY ... FROM STDIN statements, got "
            + repr(shown if len(shown) <= 60 else shown[:57] + "...")
        )
    if rest.replace(";", "").strip():
        raise ProgrammingError("you cannot mix COPY with other operations")
    return way
