"""No object in a prediction request may have a repeated key."""

import json
import random
from typing import Any

import pytest

from service.domain.specification.model import GuardSpec
from service.learning.guard.guard import FeatureGuard
from service.learning.guard.prediction_guard import PredictionGuard
from service.serving.edge.errors import EdgeError, MalformedError, UnprocessableError
from service.serving.predictions.request_bodies import MAX_REPORTED, parse_prediction_body

NOTHING = PredictionGuard(FeatureGuard(GuardSpec()))
LINES = "application/jsonlines"


def read(body: str, kind: str = "application/json") -> Any:
    """Return the items of the body."""
    return parse_prediction_body(kind, body.encode(), NOTHING)


@pytest.mark.parametrize(
    ("body", "kind", "named"),
    [
        ('{"a":1,"a":2}', "", [(0, "a")]),
        ('{"a":1,"b":0,"a":1}', "application/json; charset=utf-8", [(0, "a")]),
        ('{"a":1,"\\u0061":2}', "", [(0, "a")]),
        ('{"a":"\\u003a","a":"\\u003a"}', "", [(0, "a")]),
        ('{"a":"x:y","a":"z"}', "", [(0, "a")]),
        ('{"":1,"":2}', "", [(0, "")]),
        ('{"id":"1","id":"2","x":{"a":1}}', "", [(0, "id")]),
        ('{"x":{"a":1},"x":{"a":1}}', "", [(0, "x")]),
        ('{"id":"1","x":{"a":1,"a":1}}', "", [(0, "a")]),
        ('{"a":{"b":1,"b":2}}', "", [(0, "b")]),
        ('[{"a":1},{"a":1,"a":2},{"id":1,"x":{"b":":","b":1}}]', "", [(1, "a"), (2, "b")]),
        ('{"a":1}\n\n{"a":1,"a":2}\r\n{"id":1,"x":{"b":1,"b":1}}\n', LINES, [(1, "a"), (2, "b")]),
    ],
)
def test_a_repeated_key_is_refused(body: str, kind: str, named: list[tuple[int, str]]) -> None:
    """Each item with a repeated key is named with the feature and the stream's own reason."""
    with pytest.raises(UnprocessableError, match=f"found the key {named[0][1]!r} more than once") as refused:
        read(body, kind)
    assert [(one["item"], one["feature"]) for one in refused.value.errors] == named
    assert {one["reason"] for one in refused.value.errors} == {"repeated_key"}


@pytest.mark.parametrize(
    "body",
    [
        "{}",
        '{"a":1}',
        '{"a":"12:30","b":"x"}',
        '{"a:b":1,"a":2}',
        '{"a":"\\"a\\":"}',
        '{"a":"b","b":"a"}',
        '{"id":"urn:a:1","ts":"2026-01-31T12:00:00Z","x":{"id":1,"ts":2}}',
        '{"a":{"a":{"a":1}}}',
        '{"x":{},"meta":{"x":{}}}',
    ],
)
def test_what_repeats_nothing_is_read(body: str) -> None:
    """Colons and escapes in texts, and equal keys in different objects, are no repeated keys."""
    given = json.loads(body)
    inner = given["x"] if isinstance(given.get("x"), dict) else given
    assert list(read(body).xs) == [inner]
    assert list(read(f"[{body}, {body}]").xs) == [inner, inner]
    assert list(read(f"{body}\n{body}", LINES).xs) == [inner, inner]


def text_of(chance: random.Random, depth: int = 0) -> str:
    """Return an object of a few members as JSON, in which keys repeat now and then."""
    members = []
    for _ in range(chance.randint(0, 4)):
        name = chance.choice(['"a"', '"b"', '"c:"', '"\\u0061"', '"x"', '"d"', '"e"', '"f"'])
        values = ["1", '"t"', '"t:u"', '"\\\\"', "null", '"\\":"', "[1, 2]"]
        nested = depth < 2 and chance.random() < 0.2
        members.append(f"{name}: {text_of(chance, depth + 1) if nested else chance.choice(values)}")
    return "{" + ", ".join(members) + "}"


def repeats(text: str) -> bool:
    """Return whether the standard library's pairs have a repeated key."""
    found = []

    def pairs(members: list[tuple[str, Any]]) -> None:
        found.append(len({name for name, _ in members}) < len(members))

    json.loads(text, object_pairs_hook=pairs)
    return any(found)


def test_any_text_is_judged_as_its_pairs_are() -> None:
    """Of thousands of texts exactly those with repeated keys are refused, alone, in a list and in lines."""
    chance = random.Random(7)
    texts = [text_of(chance) for _ in range(4000)]
    assert 300 < sum(map(repeats, texts)) < 3000
    for first, second in zip(texts[::2], texts[1::2], strict=True):
        expected = [n for n, text in enumerate((first, second)) if repeats(text)]
        for body, kind in ((f"[{first},{second}]", ""), (f"{first}\n{second}", LINES)):
            assert refused(body, kind) == expected
        assert refused(first, "") == expected[:1] * (0 in expected)


def refused(body: str, kind: str) -> list[int]:
    """Return the items that are refused."""
    try:
        read(body, kind)
    except UnprocessableError as error:
        return [one["item"] for one in error.errors]
    return []


def test_no_more_than_a_hundred_are_told() -> None:
    """Of a thousand faulty items a hundred are listed."""
    with pytest.raises(UnprocessableError, match="1000 of 1001 items") as told:
        read("[{}," + ",".join(['{"a":1,"a":1}'] * 1000) + "]")
    assert len(told.value.errors) == MAX_REPORTED


@pytest.mark.parametrize("depth", [10, 500, 900, 990, 5000])
def test_depth_is_no_fault_of_the_server(depth: int) -> None:
    """A repeated key beside deep nesting is refused as repeated or as unreadable, at any depth."""
    for inner in ("[" * depth + "]" * depth, '{"b":' * depth + "1" + "}" * depth):
        with pytest.raises(EdgeError) as told:
            read('{"a":1,"a":' + inner + "}")
        assert isinstance(told.value, UnprocessableError | MalformedError)
