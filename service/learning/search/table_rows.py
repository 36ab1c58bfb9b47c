"""Training data as rows for a search."""

from collections.abc import Sequence

import polars as pl

from service.domain.stream.events import Event, Label
from service.learning.datasets.dataset import TrainingData, table_events
from service.learning.search.trials import Indices


class TableRows:
    """Implements `HistoryRows`; events are built from columns on demand."""

    def __init__(self, data: TrainingData) -> None:
        self._data = data

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._data)

    def take(self, rows: Indices) -> Sequence[Event]:
        """Return these events, in the given order."""
        return table_events(self._data.take(rows).table)

    def labels(self, rows: Indices) -> Sequence[Label]:
        """Return the labels in the types that events have."""
        found: list[Label] = self._data.take(rows).table.get_column("y").to_list()
        return found

    def times(self, rows: Indices) -> Sequence[int]:
        """Return the event times in epoch milliseconds."""
        found: list[int] = self._data.times[rows].tolist()
        return found

    def weights(self, rows: Indices) -> Sequence[float]:
        """Return the weights, 1 where none was given."""
        found: list[float] = self._data.weights[rows].tolist()
        return found

    def frame(self, rows: Indices) -> pl.DataFrame:
        """Return the features as a frame, for batch estimators."""
        return self._data.take(rows).frame()
