"""Decodes any JSON layout: `fields` says where the envelope's parts stand in it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from operator import methodcaller
from typing import Any, TypeAlias

from service.domain.specification.model import FieldsSpec
from service.domain.stream.events import Decoded, Event, Reason, Records, Task
from service.stream.decoding import fields as parts
from service.stream.decoding.fields import PartError
from service.stream.decoding.json_documents import document
from service.stream.decoding.refusals import one_by_one

Path: TypeAlias = tuple[str, ...]
Features: TypeAlias = str | tuple[str, ...] | Mapping[str, str] | None
Get: TypeAlias = Callable[[dict[str, Any]], Any]
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
        paths = {name: path_of(getattr(fields, name) or name) for name in ("id", "ts", "y", "group", "weight")}
        self._id, self._ts, self._y = (getter(paths[name]) for name in ("id", "ts", "y"))
        self._group, self._weight = getter(paths["group"]), getter(paths["weight"])
        self._values = features_getter(fields.x, parts=list(paths.values()))

    def decode(self, records: Records) -> Decoded:
        """Every record becomes exactly one event or one refusal."""
        return one_by_one(records, self._read, max_event_bytes=self._limit)

    def _read(self, raw: bytes, offset: int, recorded: int) -> Event:
        found = document(raw)
        return Event(
            offset,
            parts.event_id(self._id(found)),
            parts.time(self._ts(found), recorded=recorded, skew_ms=self._skew_ms),
            parts.parsed_features(self._values(found)),
            parts.label(self._y(found), self._task),
            parts.group(self._group(found)),
            parts.weight(self._weight(found)),
        )


def path_of(text: str) -> Path:
    """`$.a.b` as its keys; a plain name is one key, `$` the whole."""
    if text == "$":
        return ()
    return tuple(text[2:].split(".")) if text.startswith("$.") else (text,)


def named_paths(x: Features) -> dict[str, Path] | None:
    """Features by name; None where one path leads to all of them."""
    if x is None or isinstance(x, str):
        return None
    if isinstance(x, Mapping):
        return {name: path_of(path) for name, path in x.items()}
    return {".".join(path_of(path)): path_of(path) for path in x}


def getter(path: Path) -> Get:
    """What finds the value at a path of a document; None where there is none."""
    if len(path) == 1:
        return methodcaller("get", path[0])
    return partial(at, path=path)


def at(found: Any, path: Path, missing: Any = None) -> Any:
    """What stands there, or `missing`."""
    for key in path:
        if not isinstance(found, dict) or key not in found:
            return missing
        found = found[key]
    return found


def features_getter(x: Features, *, parts: Sequence[Path]) -> Get:
    """What finds the features: those listed, or all at one path but the event's parts."""
    listed = named_paths(x)
    if listed is None:
        root = path_of(x if isinstance(x, str) else "x")
        keys = {path[len(root)] for path in parts if len(path) > len(root) and path[: len(root)] == root}
        return partial(_all_but, root=root, keys=keys)
    if all(len(path) == 1 for path in listed.values()):
        return partial(_members, keys={name: path[0] for name, path in listed.items()})
    return partial(_listed, paths=listed)


def _all_but(found: dict[str, Any], *, root: Path, keys: AbstractSet[str]) -> Any:
    values = at(found, root)
    if not keys or not isinstance(values, dict):
        return values
    values = values.copy()
    for key in keys:
        values.pop(key, None)
    return values


def _members(found: dict[str, Any], *, keys: Mapping[str, str]) -> dict[str, Any]:
    return _some({name: found[key] for name, key in keys.items() if key in found}, keys)


def _listed(found: dict[str, Any], *, paths: Mapping[str, Path]) -> dict[str, Any]:
    values = ((name, at(found, path, _MISSING)) for name, path in paths.items())
    return _some({name: value for name, value in values if value is not _MISSING}, paths)


def _some(values: dict[str, Any], sought: Iterable[str]) -> dict[str, Any]:
    if not values:
        raise PartError(Reason.MISSING_FEATURES, f"found none of {', '.join(sought)!s:.200}")
    return values
