"""Decides which events a file's columns can hold exactly: feature order and kind, label kind, integer size."""

from collections.abc import Mapping
from itertools import pairwise

from service.domain.specification.limits import LARGEST_EXACT
from service.domain.stream.events import Event, EventId, Features, Label, LabelRecord, Scalar, Task
from service.stream.archive.schema import LABEL_KINDS, ColumnKind, default_label_kind

MAX_FEATURES = 1000
MAX_NAME_LENGTH = 256
_MAX_ORDERS = 10_000
_INT64_LIMIT = 2**63
FEATURE_KINDS: Mapping[type, ColumnKind] = {
    float: ColumnKind.NUMBER,
    int: ColumnKind.NUMBER,
    str: ColumnKind.STRING,
    bool: ColumnKind.BOOLEAN,
    type(None): ColumnKind.NUMBER,
}


class ColumnLayout:
    """The features of a range in their order, which new features extend at the end, and the kind of its labels."""

    def __init__(
        self, task: Task, *, kinds: Mapping[str, ColumnKind] | None = None, label: ColumnKind | None = None
    ) -> None:
        self.kinds: dict[str, ColumnKind] = dict(kinds or {})
        self._task = task
        self._label = label
        self._orders: dict[tuple[str, ...], bool] = {}

    @property
    def label(self) -> ColumnKind:
        """Return the kind of the `y` column."""
        return self._label or default_label_kind(self._task)

    def admits(self, event: Event) -> bool:
        """Return whether the columns hold the event exactly; adds its new features to the layout."""
        if not self.admits_features(event.x) or not self.fits_label(event.y) or not fits_int64(event.group):
            return False
        return all(fits_column(value, kind=self.kinds[name]) for name, value in event.x.items())

    def admits_label(self, label: LabelRecord) -> bool:
        """Return whether the columns hold the label exactly."""
        return self.fits_label(label.y)

    def fits_label(self, y: Label | None) -> bool:
        """Return whether `y` holds the label exactly; the first label sets the kind if the task allows several."""
        if y is None:
            return True
        kind = LABEL_KINDS[self._task].get(type(y))
        if self._label is None:
            self._label = kind
        if kind is None or kind is not self._label:
            return False
        limit = LARGEST_EXACT if kind is ColumnKind.NUMBER else _INT64_LIMIT
        return type(y) is not int or -limit <= y <= limit - 1

    def admits_features(self, x: Features) -> bool:
        """Return whether the features come in the order of the columns; adds new ones if so."""
        order = tuple(x)
        known = self._orders.get(order)
        if known is None:
            if len(self._orders) >= _MAX_ORDERS:
                self._orders.clear()
            known = self._orders[order] = self._extend(x)
        return known

    def _extend(self, x: Features) -> bool:
        new = [name for name in x if name not in self.kinds]
        if not x or len(self.kinds) + len(new) > MAX_FEATURES:
            return False
        if not all(0 < len(name) <= MAX_NAME_LENGTH and "\0" not in name for name in new):
            return False
        place = {name: number for number, name in enumerate([*self.kinds, *new])}
        if any(place[one] > place[other] for one, other in pairwise(x)):
            return False
        self.kinds.update({name: FEATURE_KINDS[type(x[name])] for name in new})
        return True


def fits_column(value: Scalar, *, kind: ColumnKind) -> bool:
    """Return whether a feature column of that kind holds the value exactly; explicit nulls are marked elsewhere."""
    if value is None:
        return True
    if FEATURE_KINDS[type(value)] is not kind:
        return False
    return type(value) is not int or -LARGEST_EXACT <= value <= LARGEST_EXACT


def fits_int64(group: EventId | None) -> bool:
    """Return whether the group is no integer, or one that fits 64 bits."""
    return type(group) is not int or -_INT64_LIMIT <= group < _INT64_LIMIT
