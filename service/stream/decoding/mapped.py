"""Decodes any JSON layout; `fields` says where the envelope's fields are in it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from operator import methodcaller
from typing import Any, TypeAlias

from service.domain.specification.model import FieldsSpec
from service.domain.stream.events import DecodedRecords, Event, Records, RefusalReason, Task
from service.stream.decoding import fields as fields_of_records
from service.stream.decoding.fields import FieldError
from service.stream.decoding.json_documents import parse_json_object
from service.stream.decoding.refusals import decode_each

KeyPath: TypeAlias = tuple[str, ...]
FeatureMapping: TypeAlias = str | tuple[str, ...] | Mapping[str, str] | None
Getter: TypeAlias = Callable[[dict[str, Any]], Any]
_MISSING: Any = object()


class MappedDecoder:
    """Decodes by configured paths; `x: $` means all that is no other field.

    Fields that `fields` leaves out keep the envelope's names. Features listed by path are named by it (`$.tx.amount` is
    `tx.amount`).
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
        self._max_event_bytes = max_event_bytes
        self._skew_ms = max_future_skew * 1000
        paths = {name: parse_path(getattr(fields, name) or name) for name in ("id", "ts", "y", "group", "weight")}
        self._id, self._ts, self._y = (path_getter(paths[name]) for name in ("id", "ts", "y"))
        self._group, self._weight = path_getter(paths["group"]), path_getter(paths["weight"])
        self._values = features_getter(fields.x, parts=list(paths.values()))

    def decode(self, records: Records) -> DecodedRecords:
        """Decode every record to exactly one event or one refusal."""
        return decode_each(records, self._read_record, max_event_bytes=self._max_event_bytes)

    def _read_record(self, raw: bytes, offset: int, recorded: int) -> Event:
        found = parse_json_object(raw)
        return Event(
            offset,
            fields_of_records.parse_id(self._id(found)),
            fields_of_records.parse_time(self._ts(found), recorded=recorded, skew_ms=self._skew_ms),
            fields_of_records.parse_json_features(self._values(found)),
            fields_of_records.parse_label(self._y(found), self._task),
            fields_of_records.parse_group(self._group(found)),
            fields_of_records.parse_weight(self._weight(found)),
        )


def parse_path(text: str) -> KeyPath:
    """Return the keys of a path such as `$.a.b`; a plain name is one key, and `$` is the whole document."""
    if text == "$":
        return ()
    return tuple(text[2:].split(".")) if text.startswith("$.") else (text,)


def named_paths(x: FeatureMapping) -> dict[str, KeyPath] | None:
    """Return the paths of features by name, or None when one path leads to all of them."""
    if x is None or isinstance(x, str):
        return None
    if isinstance(x, Mapping):
        return {name: parse_path(path) for name, path in x.items()}
    return {".".join(parse_path(path)): parse_path(path) for path in x}


def path_getter(path: KeyPath) -> Getter:
    """Return a function that finds the value at the path of a document, or None."""
    if len(path) == 1:
        return methodcaller("get", path[0])
    return partial(value_at, path=path)


def value_at(found: Any, path: KeyPath, missing: Any = None) -> Any:
    """Return the value at the path, or `missing`."""
    for key in path:
        if not isinstance(found, dict) or key not in found:
            return missing
        found = found[key]
    return found


def features_getter(x: FeatureMapping, *, parts: Sequence[KeyPath]) -> Getter:
    """Return a function that finds the features: those listed, or all at one path except the event's other fields."""
    listed = named_paths(x)
    if listed is None:
        root = parse_path(x if isinstance(x, str) else "x")
        keys = {path[len(root)] for path in parts if len(path) > len(root) and path[: len(root)] == root}
        return partial(_all_except, root=root, keys=keys)
    if all(len(path) == 1 for path in listed.values()):
        return partial(_top_level_values, keys={name: path[0] for name, path in listed.items()})
    return partial(_values_at_paths, paths=listed)


def _all_except(found: dict[str, Any], *, root: KeyPath, keys: AbstractSet[str]) -> Any:
    values = value_at(found, root)
    if not keys or not isinstance(values, dict):
        return values
    values = values.copy()
    for key in keys:
        values.pop(key, None)
    return values


def _top_level_values(found: dict[str, Any], *, keys: Mapping[str, str]) -> dict[str, Any]:
    return _require_any({name: found[key] for name, key in keys.items() if key in found}, keys)


def _values_at_paths(found: dict[str, Any], *, paths: Mapping[str, KeyPath]) -> dict[str, Any]:
    values = ((name, value_at(found, path, _MISSING)) for name, path in paths.items())
    return _require_any({name: value for name, value in values if value is not _MISSING}, paths)


def _require_any(values: dict[str, Any], sought: Iterable[str]) -> dict[str, Any]:
    if not values:
        raise FieldError(RefusalReason.MISSING_FEATURES, f"found none of {', '.join(sought)!s:.200}")
    return values
