"""Decodes any JSON layout: `fields` says where the envelope's parts stand in it."""

from collections.abc import Mapping
from typing import Any, TypeAlias

from service.domain.events import Decoded, Event, Reason, Records, Task
from service.domain.specification import FieldsSpec
from service.stream import parts
from service.stream.documents import document
from service.stream.parts import PartError
from service.stream.reading import one_by_one

Path: TypeAlias = tuple[str, ...]
_MISSING: Any = object()


class MappedDecoder:
    """Parts that `fields` leaves out keep the envelope's names; `x: $` means all that is not a part.

    Features listed by path are named by it (`$.tx.amount` is `tx.amount`).
    """

    def __init__(
        self,
        fields: FieldsSpec,
        task: Task,
        *,
        max_event_bytes: int = 1_000_000,
        max_future_skew: float = 3600.0,
    ) -> None:
        self._task = task
        self._limit = max_event_bytes
        self._skew_ms = max_future_skew * 1000
        self._paths = {name: path_of(getattr(fields, name) or name) for name in ("id", "ts", "y", "group", "weight")}
        self._features = named_paths(fields.x)
        self._root = path_of(fields.x or "x") if isinstance(fields.x, str | None) else ()
        self._excluded = {
            path[len(self._root)]
            for path in self._paths.values()
            if len(path) > len(self._root) and path[: len(self._root)] == self._root
        }

    def decode(self, records: Records) -> Decoded:
        """Every record becomes exactly one event or one refusal."""
        return one_by_one(records, self._read, max_event_bytes=self._limit)

    def _read(self, raw: bytes, offset: int, recorded: int) -> Event:
        found = document(raw)
        part = {name: at(found, path) for name, path in self._paths.items()}
        return Event(
            offset,
            parts.event_id(part["id"]),
            parts.time(part["ts"], recorded=recorded, skew_ms=self._skew_ms),
            parts.features(self._values(found)),
            parts.label(part["y"], self._task),
            parts.group(part["group"]),
            parts.weight(part["weight"]),
        )

    def _values(self, found: Mapping[str, Any]) -> Any:
        if self._features is None:
            values = at(found, self._root)
            if not isinstance(values, dict):
                return values
            return {name: value for name, value in values.items() if name not in self._excluded}
        present = {name: at(found, path, _MISSING) for name, path in self._features.items()}
        values = {name: value for name, value in present.items() if value is not _MISSING}
        if not values:
            raise PartError(Reason.MISSING_FEATURES, f"found none of {', '.join(present)!s:.200}")
        return values


def path_of(text: str) -> Path:
    """`$.a.b` as its keys; a plain name is one key, `$` the whole."""
    if text == "$":
        return ()
    return tuple(text[2:].split(".")) if text.startswith("$.") else (text,)


def named_paths(x: str | tuple[str, ...] | Mapping[str, str] | None) -> dict[str, Path] | None:
    """Features by name; None where one path leads to all of them."""
    if x is None or isinstance(x, str):
        return None
    if isinstance(x, Mapping):
        return {name: path_of(path) for name, path in x.items()}
    return {".".join(path_of(path)): path_of(path) for path in x}


def at(found: Any, path: Path, missing: Any = None) -> Any:
    """What stands there, or `missing`."""
    for key in path:
        if not isinstance(found, dict) or key not in found:
            return missing
        found = found[key]
    return found
