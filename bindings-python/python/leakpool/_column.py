"""`cursor.description`: its columns, in psycopg's form, which is also PEP 249's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    from ._leakpool import Column as NativeColumn

#: The types whose modifier says something, as (name, their arrays' OID).
_BIT, _VARBIT, _BPCHAR, _VARCHAR, _NUMERIC, _INTERVAL = 1560, 1562, 1042, 1043, 1700, 1186
_LENGTHS = {_BIT, _VARBIT, _BPCHAR, _VARCHAR}
#: time, timestamp, timestamptz, timetz.
_TIMES = {1083, 1114, 1184, 1266}
#: Which type the elements of these arrays have.
_ELEMENTS = {
    1561: _BIT,
    1563: _VARBIT,
    1014: _BPCHAR,
    1015: _VARCHAR,
    1231: _NUMERIC,
    1187: _INTERVAL,
    1183: 1083,
    1115: 1114,
    1185: 1184,
    1270: 1266,
}


class Column(Sequence[Any]):
    """One column of a result. As a sequence, PEP 249's seven: name, type_code, display_size, and so on."""

    __module__ = "leakpool"
    __slots__ = ("_native",)

    def __init__(self, native: NativeColumn) -> None:
        self._native = native

    @property
    def name(self) -> str:
        """The column's name."""
        return self._native.name

    @property
    def type_code(self) -> int:
        """The OID of its type; compares with `STRING`, `NUMBER` and so on."""
        return self._native.type_oid

    @property
    def display_size(self) -> int | None:
        """How long its texts may be, if their type says so."""
        modifier = self._native.type_modifier
        kind = self._kind()
        if modifier < 0 or kind not in _LENGTHS:
            return None
        return modifier if kind in (_BIT, _VARBIT) else modifier - 4

    @property
    def internal_size(self) -> int | None:
        """The bytes that a value has, for types of a fixed size."""
        size = self._native.type_size
        return size if size >= 0 else None

    @property
    def precision(self) -> int | None:
        """The digits of a number, or of the fraction of a second, if its type limits them."""
        modifier, kind = self._native.type_modifier, self._kind()
        if modifier < 0:
            return None
        if kind == _NUMERIC:
            return (modifier - 4) >> 16 & 0xFFFF
        if kind in _TIMES:
            return modifier
        if kind == _INTERVAL:
            return None if modifier & 0xFFFF == 0xFFFF else modifier & 0xFFFF
        return None

    @property
    def scale(self) -> int | None:
        """The digits behind the point, if its type limits them."""
        modifier = self._native.type_modifier
        if modifier < 0 or self._kind() != _NUMERIC:
            return None
        # Eleven bits, of which the highest is the sign.
        scale = (modifier - 4) & 0x7FF
        return scale - 0x800 if scale & 0x400 else scale

    @property
    def null_ok(self) -> bool | None:
        """Always None: results do not tell."""
        return None

    @property
    def table_oid(self) -> int | None:
        """The OID of the table that it comes from; None for an expression."""
        return self._native.table_oid or None

    @property
    def table_column(self) -> int | None:
        """Which column of that table it is, from 1."""
        return self._native.column_id or None

    @property
    def type_display(self) -> str:
        """The type's name with what its modifier says: `numeric(10,2)`, `varchar(42)[]`; its OID if it is not known."""
        from ._types_by_oid import NAMES

        oid = self.type_code
        name = NAMES.get(oid)
        if name is None:
            return str(oid)
        array, name = ("[]", name[:-2]) if name.endswith("[]") else ("", name)
        inside = [part for part in (self.display_size, self.precision, self.scale) if part is not None]
        if inside:
            name += "(" + ",".join(map(str, inside)) + ")"
        return name + array

    def _kind(self) -> int:
        oid = self._native.type_oid
        return _ELEMENTS.get(oid, oid)

    def _seven(self) -> tuple[Any, ...]:
        return (
            self.name,
            self.type_code,
            self.display_size,
            self.internal_size,
            self.precision,
            self.scale,
            self.null_ok,
        )

    def __len__(self) -> int:
        return 7

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        return self._seven()[index]

    def __eq__(self, other: object) -> bool:
        return self._seven() == tuple(other) if isinstance(other, Column | tuple) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._seven())

    def __repr__(self) -> str:
        return f"<Column {self.name!r}, type: {self.type_display} (oid: {self.type_code})>"
