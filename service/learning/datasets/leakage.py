"""Detection of leaks: ids, contents or groups that occur in two parts."""

from collections.abc import Mapping, Sequence

import polars as pl

from service.errors import DataLeakError
from service.learning.datasets.dataset import FEATURE_PREFIX, GROUP_COLUMNS, ID_COLUMNS, TrainingData


def require_no_leak(parts: Mapping[str, TrainingData], *, by_content: bool = True) -> None:
    """Raise DataLeakError, which says what two parts share, where, and how much of it there is.

    Without `by_content`, events with equal features and label under different ids may be in several parts.
    """
    tables = {name: part.table for name, part in parts.items() if len(part)}
    _require_apart(tables, ID_COLUMNS, what="id")
    _require_apart(tables, GROUP_COLUMNS, what="group")
    if by_content:
        features = {name for table in tables.values() for name in table.columns if name.startswith(FEATURE_PREFIX)}
        _require_apart(tables, [*sorted(features), "y"], what="content")


def _require_apart(tables: Mapping[str, pl.DataFrame], columns: Sequence[str], *, what: str) -> None:
    """Compare rows by hash, and completely only where hashes are equal."""
    place = [pl.col(name).alias(f"@{name}") for name in ("topic", "partition", "offset")]
    rows = [
        table.select(*(name for name in columns if name in table.columns), pl.lit(part).alias("@part"), *place)
        for part, table in tables.items()
    ]
    both = pl.concat(rows, how="diagonal_relaxed") if rows else pl.DataFrame()
    if both.is_empty():
        return
    if what != "content":
        both = both.filter(pl.any_horizontal(pl.col(columns).is_not_null()))
    hashes = both.select(columns).hash_rows()
    if hashes.n_unique() == both.height:
        return
    counted = both.with_columns(hashes.alias("@hash"))
    suspects = counted.filter(pl.col("@part").n_unique().over("@hash") > 1)
    crossing = suspects.filter(pl.col("@part").n_unique().over(columns) > 1)
    if not crossing.is_empty():
        raise _leak_error(crossing, columns, what)


def _leak_error(crossing: pl.DataFrame, columns: Sequence[str], what: str) -> DataLeakError:
    """Build the error with the two earliest rows of the first shared value."""
    count = crossing.select(columns).n_unique()
    first = crossing.join(crossing.head(1).select(columns), on=columns, nulls_equal=True)
    rows = first.unique("@part", keep="first", maintain_order=True).head(2).rows(named=True)
    places = [f"the {row['@part']} part ({row['@topic']}[{row['@partition']}]@{row['@offset']})" for row in rows]
    return DataLeakError(
        f"found one {what} in {' and '.join(places)}, and {count} in all that parts share, expected none; divide with "
        "`split`, which removes duplicates and keeps groups together"
    )
