"""Training data made by hand."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from service.domain.stream.events import Task
from service.learning.datasets.dataset import TrainingData


def history(
    labels: Sequence[Any],
    *,
    groups: Sequence[str | int | None] | None = None,
    contents: Sequence[float] | None = None,
    times: Sequence[int] | None = None,
    task: Task = Task.BINARY,
    first: int = 0,
) -> TrainingData:
    """An event a label, a second apart, with one feature that is new each time unless it is given."""
    count = len(labels)
    given = [*(groups or [None] * count)]
    rows = np.arange(first, first + count)
    table = pl.DataFrame(
        {
            "topic": pl.Series(["events"] * count, dtype=pl.String),
            "partition": pl.Series([0] * count, dtype=pl.Int32),
            "offset": pl.Series(rows, dtype=pl.Int64),
            "ts": pl.Series(times if times is not None else rows * 1000, dtype=pl.Int64),
            "label_ts": pl.Series([None] * count, dtype=pl.Int64),
            "id_number": pl.Series(rows, dtype=pl.Int64),
            "id_text": pl.Series([None] * count, dtype=pl.String),
            "group_number": pl.Series([one if isinstance(one, int) else None for one in given], dtype=pl.Int64),
            "group_text": pl.Series([one if isinstance(one, str) else None for one in given], dtype=pl.String),
            "weight": pl.Series([1.0] * count, dtype=pl.Float64),
            "y": pl.Series(labels),
            "x.a": pl.Series(contents if contents is not None else rows * 1.5, dtype=pl.Float64),
        }
    )
    return TrainingData(task, table)
