"""Phishing's rows over and over, each a little different, so that none is a duplicate of another."""

from collections.abc import Iterator
from itertools import cycle, islice
from random import Random
from typing import Any

import msgspec
from river import datasets


def events(count: int) -> Iterator[bytes]:
    """Yield events without labels."""
    return (msgspec.json.encode({"id": number, "x": x}) for number, (x, _) in enumerate(_rows(count)))


def labels(count: int) -> Iterator[bytes]:
    """Yield the labels of the same events as records of their own."""
    return (msgspec.json.encode({"id": number, "y": y}) for number, (_, y) in enumerate(_plain(count)))


def labelled_events(count: int) -> Iterator[bytes]:
    """Yield the events with their labels."""
    return (msgspec.json.encode({"id": number, "x": x, "y": y}) for number, (x, y) in enumerate(_rows(count)))


def _rows(count: int) -> Iterator[tuple[dict[str, Any], bool]]:
    chance = Random(1)
    for x, y in _plain(count):
        yield {name: value + round(chance.gauss(0, 0.1), 6) for name, value in x.items()}, y


def _plain(count: int) -> Iterator[tuple[dict[str, Any], bool]]:
    return islice(cycle(list(datasets.Phishing())), count)
