"""Archived topics, coverage of files, and retention."""

from collections.abc import Mapping
from typing import Any

import pytest

from service.domain.registry.archive import (
    ArchivedSpan,
    ArchiveFileInfo,
    archived_topics,
    deletable_files,
    mapping_digest,
    merge_spans,
    missing_ranges,
    range_end,
    split_records,
)
from service.domain.specification.model import ModelSpec
from service.domain.stream.events import Records, TopicPartition

ONE, OTHER = TopicPartition("t", 0), TopicPartition("t", 1)


def spec(name: str, **changes: Any) -> ModelSpec:
    """Return a model that reads topic `t`."""
    return ModelSpec.model_validate({"name": name, "task": "binary", "events": "t", "factory": "a:b", **changes})


def file(at: TopicPartition, number: int, newest_ms: int) -> ArchiveFileInfo:
    """Return the file of the tenth range with this number."""
    first = number * 10
    return ArchiveFileInfo(at, first, first + 10, [ArchivedSpan(first, first + 10, "m")], 10, newest_ms)


@pytest.mark.parametrize(
    ("oldest_ms", "max_bytes", "floors", "gone"),
    [
        (None, None, {}, []),
        (250, None, {}, [(0, 0), (1, 0), (0, 10)]),
        (10_000, None, {}, [(0, 0), (1, 0), (0, 10), (1, 10)]),
        (10_000, None, {ONE: 10}, [(0, 0), (1, 0), (1, 10)]),
        (10_000, None, {ONE: 9}, [(1, 0), (1, 10)]),
        (10_000, None, {ONE: 0, OTHER: 19}, [(1, 0)]),
        (None, 250, {}, [(0, 0), (1, 0)]),
        (None, 250, {ONE: 0}, [(1, 0), (1, 10)]),
        (None, 0, {}, [(0, 0), (1, 0), (0, 10), (1, 10)]),
        (150, 350, {}, [(0, 0)]),
    ],
)
def test_what_may_go(
    oldest_ms: int | None, max_bytes: int | None, floors: Mapping[TopicPartition, int], gone: list[tuple[int, int]]
) -> None:
    """Files are deleted by age, then by size, from each partition's beginning and never past its floor."""
    files = {ONE: [file(ONE, 0, 100), file(ONE, 1, 210)], OTHER: [file(OTHER, 0, 200), file(OTHER, 1, 300)]}
    sizes = {(at, one.first): 100 for at, found in files.items() for one in found}
    found = deletable_files(
        {at: iter(one) for at, one in files.items()}, sizes, floors=floors, oldest_ms=oldest_ms, max_bytes=max_bytes
    )
    assert [(one.at.partition, one.first) for one in found] == gone


def test_timestamps_that_go_back_delete_no_file_before_an_older_one() -> None:
    """A file whose records are older than those of the file before it is not deleted before that file."""
    files = iter([file(ONE, 0, 900), file(ONE, 1, 100)])
    assert deletable_files({ONE: files}, {}, floors={}, oldest_ms=500, max_bytes=None) == []


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        ([spec("a"), spec("b")], [("t", False)]),
        ([spec("a"), spec("b", task="regression")], [("t", True)]),
        ([spec("a"), spec("b", fields={"x": "$.f"})], [("t", True)]),
        ([spec("a", labels="l"), spec("b", events="l")], [("t", False), ("l", True)]),
        ([spec("a", labels="t")], [("t", False)]),
    ],
)
def test_each_topic_is_archived_once(models: list[ModelSpec], expected: list[tuple[str, bool]]) -> None:
    """Each topic is archived once, with the bytes of all records if two models map it differently."""
    assert [(one.topic, one.raw) for one in archived_topics(models, raw=False)] == expected
    assert all(one.raw for one in archived_topics(models, raw=True))


def test_limits_are_no_part_of_a_mapping() -> None:
    """The mapping digest does not change with the guard, and does change with task or fields."""
    assert mapping_digest(spec("a"), "t") == mapping_digest(spec("b", guard={"max_event_bytes": 9}), "t")
    assert len({mapping_digest(spec("a", **one), "t") for one in ({}, {"labels": "t"}, {"fields": {"y": "z"}})}) == 3


def test_spans_and_gaps() -> None:
    """Adjacent spans of one mapping are joined, and offsets that no span covers are returned as missing."""
    spans = [
        ArchivedSpan(0, 3, "a"),
        ArchivedSpan(3, 5, "a"),
        ArchivedSpan(5, 5, "a"),
        ArchivedSpan(5, 7, "b"),
        ArchivedSpan(9, 10, "b"),
    ]
    assert merge_spans(spans) == [ArchivedSpan(0, 5, "a"), ArchivedSpan(5, 7, "b"), ArchivedSpan(9, 10, "b")]
    assert missing_ranges(spans, 0, 12) == [(7, 9), (10, 12)]
    assert missing_ranges(spans, 1, 7) == []
    assert missing_ranges([], 3, 4) == [(3, 4)]
    assert [range_end(first, 10) for first in (0, 9, 10, 13)] == [10, 10, 20, 20]


def test_a_run_is_split_where_a_range_ends() -> None:
    """Records are split where a range ends, and gaps stay covered on both sides."""
    run = Records(ONE, [3, 8, 12], [1, 2, 3], [b"a", b"b", b"c"], 20)
    left, right = split_records(run, 10)
    assert (left.offsets, left.next_offset) == ([3, 8], 10)
    assert right is not None
    assert (right.offsets, right.values, right.next_offset) == ([12], [b"c"], 20)
    assert split_records(run, 20) == (run, None)
