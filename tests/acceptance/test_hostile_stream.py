"""Promise 7: no event can corrupt a model, stop the stream or be lost without a word."""

import json
import random
import signal
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from river import linear_model, metrics, optim, preprocessing
from typer.testing import CliRunner, Result

from service.cli.app import app as cli
from service.domain.registry.registry import DeadLetter
from service.domain.stream.events import RefusalReason
from tests.acceptance.harness import PHISHING, Deployment, phishing_events, wait_until

CLEAN = 20_000
KEPT_BYTES = 500
LARGEST_EVENT = 3000
ESTIMATOR = '''
"""A classifier that some events break."""

import math
import os

from river import base, linear_model, optim, preprocessing


class Fragile(base.Classifier):
    """Scaler and logistic regression; `long_url` of some odd values is its undoing."""

    def __init__(self):
        self.scaler = preprocessing.StandardScaler()
        self.model = linear_model.LogisticRegression(optimizer=optim.SGD(lr=0.005))
        self.spoilt = False

    def predict_proba_one(self, x):
        if self.spoilt:
            return {True: math.nan, False: math.nan}
        return self.model.predict_proba_one(self.scaler.transform_one(x))

    def learn_one(self, x, y):
        if x["long_url"] == 0.111:
            os._exit(9)
        self.scaler.learn_one(x)
        if x["long_url"] == 0.222:
            raise ValueError("in the middle of learning")
        if x["long_url"] == 0.333:
            self.spoilt = True
        self.model.learn_one(self.scaler.transform_one(x), y)


def fragile():
    """The factory."""
    return Fragile()
'''


def deployment(folder: Path, **changes: Any) -> Deployment:
    """Phishing with the fragile estimator, unless the changes say otherwise."""
    model = {**PHISHING, "factory": "fragile_model:fragile", **changes}
    del model["estimator"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "fragile_model.py").write_text(ESTIMATOR, encoding="utf-8")
    return Deployment(folder, model)


def bare_accuracy(events: Sequence[bytes]) -> float:
    """What a plain loop over these events scores."""
    model = preprocessing.StandardScaler() | linear_model.LogisticRegression(optimizer=optim.SGD(lr=0.005))
    accuracy = metrics.Accuracy()
    for event in map(json.loads, events):
        accuracy.update(event["y"], model.predict_one(event["x"]))
        model.learn_one(event["x"], event["y"])
    return float(accuracy.get())


def changed(event: dict[str, Any], **changes: Any) -> bytes:
    """The event with some members changed; `...` leaves one out."""
    return json.dumps({key: value for key, value in {**event, **changes}.items() if value is not ...}).encode()


def with_feature(**values: Any) -> Callable[[dict[str, Any]], bytes]:
    """An event with some features changed or added."""
    return lambda event: changed(event, x={**event["x"], **values})


def with_part(**values: Any) -> Callable[[dict[str, Any]], bytes]:
    """An event with some parts changed."""
    return lambda event: changed(event, **values)


def cut(event: dict[str, Any]) -> bytes:
    """The first half of an event."""
    raw = changed(event)
    return raw[: len(raw) // 2]


def repeated(event: dict[str, Any]) -> bytes:
    """An event with a feature written twice."""
    return changed(event).replace(b'"x": {', b'"x": {"long_url": 1, ')


CASES: list[tuple[RefusalReason, Callable[[dict[str, Any]], bytes]]] = [
    (RefusalReason.NOT_JSON, cut),
    (RefusalReason.NOT_JSON, lambda _: b""),
    (RefusalReason.NOT_JSON, lambda event: b"\xff\xfe" + changed(event)),
    (RefusalReason.NOT_JSON, lambda _: b'{"id": 1, "x": ' + b'{"a":' * 450 + b"1" + b"}" * 450 + b"}"),
    (RefusalReason.NOT_AN_OBJECT, lambda event: json.dumps([event]).encode()),
    (RefusalReason.REPEATED_KEY, repeated),
    (RefusalReason.MISSING_ID, with_part(id=...)),
    (RefusalReason.MISSING_ID, with_part(id=None)),
    (RefusalReason.BAD_ID, with_part(id="i" * 129)),
    (RefusalReason.BAD_ID, with_part(id=2**63)),
    (RefusalReason.BAD_ID, with_part(id=True)),
    (RefusalReason.BAD_TIME, with_part(ts="yesterday")),
    (RefusalReason.BAD_TIME, with_part(ts=10**20)),
    (RefusalReason.FUTURE_TIME, with_part(ts=4_102_444_800_000)),
    (RefusalReason.MISSING_FEATURES, with_part(x=...)),
    (RefusalReason.NON_SCALAR_FEATURE, with_feature(long_url=[1])),
    (RefusalReason.NON_FINITE, with_feature(long_url=float("nan"))),
    (RefusalReason.NON_FINITE, with_feature(long_url=float("-inf"))),
    (RefusalReason.MAGNITUDE, with_feature(long_url=1e13)),
    (RefusalReason.MAGNITUDE, with_feature(long_url=10**30)),
    (RefusalReason.OUT_OF_RANGE, with_feature(long_url=9e11)),
    (RefusalReason.OUT_OF_RANGE, with_feature(age_of_domain=-9e11)),
    (RefusalReason.TYPE_CHANGED, with_feature(long_url="1")),
    (RefusalReason.TYPE_CHANGED, with_feature(https=True)),
    (RefusalReason.NEW_FEATURE, with_feature(surprise=1)),
    (RefusalReason.BAD_LABEL, with_part(y="false")),
    (RefusalReason.BAD_LABEL, with_part(y=2)),
    (RefusalReason.BAD_WEIGHT, with_part(weight=-1)),
    (RefusalReason.BAD_GROUP, with_part(group=[1])),
    (RefusalReason.TOO_LARGE, with_part(note="n" * LARGEST_EVENT)),
    (RefusalReason.ESTIMATOR_FAILED, with_feature(long_url=0.222)),
    (RefusalReason.NON_FINITE_PREDICTION, with_feature(long_url=0.333)),
]
EARLY = (RefusalReason.TOO_MANY_FEATURES, with_feature(**{f"f{number}": 1 for number in range(40)}))
UNREACHABLE = {
    RefusalReason.NOT_CSV,
    RefusalReason.KILLED_PROCESS,
    RefusalReason.MISSING_LABEL,
    RefusalReason.BAD_PREDICTION,
}


def test_there_is_a_case_for_every_reason() -> None:
    """Every reason is tried, but CSV's own, those of labels and of served predictions, and the one that needs a dying process, which have tests of theirs."""
    assert {reason for reason, _ in [*CASES, EARLY]} == set(RefusalReason) - UNREACHABLE


def is_no_event(raw: bytes) -> bool:
    """Whether these bytes lack what every event has, by the standard library's parser."""
    try:
        found = json.loads(raw.decode(), parse_constant=float.fromhex)
    except (ValueError, RecursionError):
        return True
    return not isinstance(found, dict) or found.get("id") is None or not isinstance(found.get("x"), dict)


def fuzzed(count: int, clean: bytes) -> list[bytes]:
    """Bytes that are no events: arbitrary ones, arbitrary JSON, and events with their bytes disturbed."""
    trees = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    )
    disturbed = st.tuples(st.integers(0, len(clean)), st.binary(max_size=3), st.integers(0, 9))
    found: list[bytes] = []

    @seed(20)
    @settings(max_examples=3 * count, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(
        st.binary(max_size=80)
        | trees.map(lambda tree: json.dumps(tree).encode())
        | disturbed.map(lambda d: clean[: d[0]] + d[1] + clean[d[0] + d[2] :])
    )
    def draw(raw: bytes) -> None:
        if is_no_event(raw):
            found.append(raw)

    draw()
    return list(dict.fromkeys(found))[:count]


def hostile(
    clean: Sequence[bytes], *, per_case: int
) -> tuple[list[bytes], dict[int, tuple[RefusalReason | None, bytes]]]:
    """The clean events in order with bad ones and duplicates among them; the bad ones by offset."""
    chance = random.Random(5)
    model = json.loads(clean[0])
    bad: list[tuple[float, RefusalReason | None, bytes]] = []
    for number in range(per_case):
        for case, (reason, make) in enumerate(CASES):
            raw = make({**model, "id": f"bad-{case}-{number}"})
            bad.append((chance.uniform(1500, len(clean)), reason, raw))
        raw = EARLY[1]({**model, "id": f"early-{number}"})
        bad.append((chance.uniform(50, 900), EARLY[0], raw))
    bad += [(chance.uniform(0, len(clean)), None, raw) for raw in fuzzed(200, clean[0])]
    rows: list[tuple[float, RefusalReason | None, bytes, bool]] = [(at, reason, raw, True) for at, reason, raw in bad]
    rows += [(at, None, raw, False) for at, raw in enumerate(clean)]
    rows.sort(key=lambda row: row[0])
    return [row[2] for row in rows], {at: (row[1], row[2]) for at, row in enumerate(rows) if row[3]}


def letters(found: Deployment) -> list[DeadLetter]:
    """Every dead letter that is kept, oldest first."""
    with found.app() as app:
        return sorted(app.registry.dead_letters.list("phishing", limit=100_000), key=lambda letter: letter.id)


@pytest.mark.slow
def test_a_hostile_stream(tmp_path: Path) -> None:
    """Every bad event is a dead letter with its reason, bytes and position; the good ones are learned as if alone."""
    clean = phishing_events(CLEAN)
    stream, bad = hostile(clean, per_case=15)
    again = clean[-100:]
    found = deployment(
        tmp_path,
        guard={"new_features": "refuse", "max_features": 40, "max_event_bytes": LARGEST_EVENT},
        dead_letters={"max_payload": KEPT_BYTES},
    )
    found.publish([*stream, *again])
    found.command("learn", "--until-end")
    kept = {letter.offset: letter for letter in letters(found)}
    assert set(kept) == set(bad)
    for offset, (reason, raw) in bad.items():
        assert reason in {None, kept[offset].reason}, (raw[:200], kept[offset].detail)
        assert (kept[offset].payload, kept[offset].size) == (raw[:KEPT_BYTES], len(raw))
    checkpoint = found.newest()
    assert checkpoint is not None
    counts = checkpoint.metrics.counts
    assert counts == {"learned": CLEAN, "predicted": 0, "duplicate": len(again), "dead": len(bad)}
    assert sum(counts.values()) == len(stream) + len(again)
    accuracy = checkpoint.metrics.cumulative["Accuracy"]
    assert abs(accuracy - bare_accuracy(clean)) < 0.005


def ready(port: int) -> list[str]:
    """What `/readyz` complains of."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=60) as answer:
            return list(json.load(answer)["reasons"])
    except urllib.error.HTTPError as error:
        return list(json.load(error)["reasons"])


def command(found: Deployment, *arguments: str) -> Result:
    """The CLI in this process, which spares its start."""
    return CliRunner().invoke(cli, [*arguments, "--config", str(found.folder / "headrace.yaml")])


def shown(found: Deployment, *arguments: str) -> Any:
    """A reading command's JSON."""
    return json.loads(command(found, *arguments, "--json").stdout)


def timed(count: int, *, first: int = 0, **features: Any) -> list[bytes]:
    """Good events with a time of their own."""
    rows = map(json.loads, islice(phishing_events(first + count), first, None))
    now = int(time.time() * 1000)
    return [changed(event, ts=now, x={**event["x"], **features}) for event in rows]


@pytest.mark.slow
def test_dead_letters_are_replayed_once(tmp_path: Path) -> None:
    """A letter that is acceptable now is learned once; no more letters are kept than configured."""
    found = deployment(tmp_path, dead_letters={"max_count": 20})
    found.publish([*timed(200), *timed(80, first=200, long_url=5e6), b"nonsense"])
    learner = found.start("learn")
    wait_until(lambda: found.learned() == 231)
    rows = shown(found, "deadletter", "list", "phishing")
    assert Counter(row["reason"] for row in rows) == {"out_of_range": 19, "not_json": 1}
    assert [row["offset"] for row in rows] == [280, *range(248, 229, -1)]
    nonsense, newest = rows[0]["id"], rows[1]["id"]
    detail = shown(found, "deadletter", "show", "phishing", str(newest))
    assert json.loads(detail["payload"])["id"] == 248
    assert "long_url" in command(found, "deadletter", "show", "phishing", str(newest)).stdout
    assert command(found, "deadletter", "replay", "phishing", str(newest)).exit_code == 0
    assert found.learned() == 232
    second = command(found, "deadletter", "replay", "phishing", str(newest))
    assert (second.exit_code, "learned once" in second.stderr) == (3, True), second.stderr
    refused = command(found, "deadletter", "replay", "phishing", str(nonsense))
    assert (refused.exit_code, "not_json" in refused.stderr) == (3, True), refused.stderr
    learner.send_signal(signal.SIGTERM)
    assert learner.wait(timeout=120) == 0
    assert found.learned() == 232
    stopped = command(found, "deadletter", "replay", "phishing", str(rows[2]["id"]))
    assert (stopped.exit_code, "start `headrace learn" in stopped.stderr) == (3, True), stopped.stderr


@pytest.mark.slow
def test_too_many_refusals_pause_the_model(tmp_path: Path) -> None:
    """Past `max_refused_share` the learner pauses and says why, and `model unfreeze` makes it go on."""
    found = deployment(tmp_path)
    found.publish([*timed(300), *[b"garbage %d" % number for number in range(1100)], *timed(2000, first=300)])
    learner = found.start("learn")
    port = found.port(learner.pid)
    wait_until(lambda: any("max_refused_share" in reason for reason in ready(port)))
    wait_until(lambda: shown(found, "model", "show", "phishing")["frozen"])
    history = shown(found, "model", "history", "phishing")["audit"]
    assert "were refused" in history[-1]["reason"]
    assert found.learned() < 2300
    assert command(found, "model", "unfreeze", "phishing").exit_code == 0
    wait_until(lambda: found.learned() == 2300)
    assert ready(port) == []
    learner.send_signal(signal.SIGTERM)
    assert learner.wait(timeout=120) == 0
    assert len(letters(found)) == 1100


@pytest.mark.slow
@pytest.mark.parametrize("culprit", [40, 2777])
def test_an_event_that_kills_the_process(tmp_path: Path, culprit: int) -> None:
    """The event is found without anyone's help, isolated, and all others are learned exactly once."""
    events = phishing_events(4000)
    bad = changed(json.loads(events[culprit]), x={**json.loads(events[culprit])["x"], "long_url": 0.111})
    found = deployment(tmp_path)
    found.publish([*events[:culprit], bad, *events[culprit + 1 :]])
    daemon = found.start("run")
    wait_until(lambda: found.learned() == len(events) - 1 or daemon.poll() is not None)
    daemon.send_signal(signal.SIGTERM)
    assert daemon.wait(timeout=120) == 0, found.log()
    assert [(letter.offset, letter.reason, letter.payload) for letter in letters(found)] == [
        (culprit, RefusalReason.KILLED_PROCESS, bad)
    ]
    checkpoint = found.newest()
    assert checkpoint is not None
    assert +Counter(checkpoint.metrics.counts) == {"learned": len(events) - 1, "dead": 1}
    accuracy = checkpoint.metrics.cumulative["Accuracy"]
    assert accuracy == bare_accuracy([*events[:culprit], *events[culprit + 1 :]])
    assert found.log().count("role_restarts") == 4
