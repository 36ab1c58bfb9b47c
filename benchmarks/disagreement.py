"""Draw how two models disagree: 1 if only the challenger is right, -1 if only the champion is, otherwise 0."""

from typing import Any, TypeAlias

import numpy as np

Shape: TypeAlias = tuple[int, int]
"""The number of streams, and of events in each."""


def independent(chance: np.random.Generator, shape: Shape, *, share: float, gain: float = 0.0) -> Any:
    """Draw disagreements on a share of the events, independently; the challenger is right more often by `gain`."""
    drawn = chance.random(shape, dtype=np.float32)
    return np.where(drawn < (share + gain) / 2, 1, np.where(drawn < share, -1, 0)).astype(np.int8)


def episodes(chance: np.random.Generator, shape: Shape, *, share: float, length: float) -> Any:
    """Draw episodes of geometric length with this mean, throughout which the same model is right."""
    streams, events = shape
    begins = share / (length * (1 - share))
    side = np.where(chance.random(streams) < share, _sides(chance, streams), 0).astype(np.int8)
    found = np.empty((events, streams), dtype=np.int8)
    for row in found:
        row[:] = side
        drawn = chance.random(streams)
        entered = np.where(drawn < begins, _sides(chance, streams), 0)
        side = np.where(side == 0, entered, np.where(drawn < 1 / length, 0, side)).astype(np.int8)
    return np.ascontiguousarray(found.T)


def spells(chance: np.random.Generator, shape: Shape, *, share: float, length: float) -> Any:
    """Draw independent disagreements; which model is right changes after spells of this mean length."""
    turns = np.cumsum(chance.random(shape, dtype=np.float32) < 1 / length, axis=1, dtype=np.int32) % 2
    side = _sides(chance, shape[0])[:, np.newaxis] * (1 - 2 * turns)
    return (side * (chance.random(shape, dtype=np.float32) < share)).astype(np.int8)


def rare_and_large(chance: np.random.Generator, shape: Shape, *, share: float) -> Any:
    """Draw losses in which the challenger is slightly better, but entirely wrong on a share of the events."""
    return np.where(chance.random(shape, dtype=np.float32) < share, -1.0, share / (1 - share))


def _sides(chance: np.random.Generator, count: int) -> Any:
    return np.where(chance.random(count) < 0.5, 1, -1)
