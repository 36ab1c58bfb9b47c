"""Encoding of features as matrix rows, with the columns that a batch estimator was fitted on."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

Matrix = npt.NDArray[np.float64]

MAX_CATEGORIES = 100
"""Categories per feature; rarer ones are treated as missing."""


@dataclass(frozen=True, slots=True)
class FeatureEncoder:
    """Column names in order, and a number for each category; missing, unknown or mistyped values become NaN."""

    names: Sequence[str]
    categories: Mapping[str, Mapping[str, int]]

    @classmethod
    def of(cls, frame: pl.DataFrame) -> "FeatureEncoder":
        """Return the encoder for training data: text columns become categories, the most frequent first."""
        texts = [column for column in frame.get_columns() if column.dtype in {pl.String, pl.Categorical, pl.Enum}]
        return cls(sorted(frame.columns), {column.name: _category_codes(column.cast(pl.String)) for column in texts})

    @property
    def categorical_indices(self) -> list[int]:
        """Return the indices of the categorical columns."""
        return [place for place, name in enumerate(self.names) if name in self.categories]

    def matrix(self, frame: pl.DataFrame) -> Matrix:
        """Return a matrix with a row for each row of the frame."""
        columns = [self._column(frame, name) for name in self.names]
        return np.column_stack(columns) if columns else np.zeros((frame.height, 0))

    def rows(self, xs: Sequence[Mapping[str, Any]]) -> Matrix:
        """Return a matrix with a row for each event."""
        values = [[self._value(name, x.get(name)) for name in self.names] for x in xs]
        return np.asarray(values, dtype=np.float64).reshape(len(xs), len(self.names))

    def _value(self, name: str, value: Any) -> float:
        known = self.categories.get(name)
        if known is not None:
            return float(known.get(value, math.nan)) if isinstance(value, str) else math.nan
        return float(value) if isinstance(value, int | float) else math.nan

    def _column(self, frame: pl.DataFrame, name: str) -> Matrix:
        if name not in frame.columns:
            return np.full(frame.height, math.nan)
        column, known = frame.get_column(name), self.categories.get(name)
        is_text = column.dtype in {pl.String, pl.Categorical, pl.Enum}
        if is_text != (known is not None):
            return np.full(frame.height, math.nan)
        if known is not None:
            return np.asarray([known.get(value, math.nan) for value in column.cast(pl.String)], dtype=np.float64)
        return column.cast(pl.Float64).fill_null(math.nan).to_numpy()


def _category_codes(column: pl.Series) -> dict[str, int]:
    counts: dict[str, int] = {}
    for value in column:
        if value is not None:
            counts[value] = counts.get(value, 0) + 1
    frequent = sorted(counts, key=lambda value: (-counts[value], value))[:MAX_CATEGORIES]
    return {value: number for number, value in enumerate(frequent)}
