"""Training data as the rows of a search."""

from collections.abc import Sequence

import polars as pl

from service.domain.stream.events import Event, Label
from service.learning.datasets.dataset import TrainingData, table_events
from service.learning.search.trials import Indices


class TableRows:
    """Implements `Rows`; events are made of columns as they are asked for."""

    def __init__(self, data: TrainingData) -> None:
        self._data = data

    def __len__(self) -> int:
        """How many."""
        return len(self._data)

    def take(self, rows: Indices) -> Sequence[Event]:
        """These, in the order given."""
        return table_events(self._data.take(rows).table)

    def labels(self, rows: Indices) -> Sequence[Label]:
        """In the types that events have."""
        found: list[Label] = self._data.take(rows).table.get_column("y").to_list()
        return found

    def times(self, rows: Indices) -> Sequence[int]:
        """In epoch milliseconds."""
        found: list[int] = self._data.times[rows].tolist()
        return found

    def weights(self, rows: Indices) -> Sequence[float]:
        """1 where none was given."""
        found: list[float] = self._data.weights[rows].tolist()
        return found

    def frame(self, rows: Indices) -> pl.DataFrame:
        """The features alone, for what is fitted at once."""
        return self._data.take(rows).frame()
