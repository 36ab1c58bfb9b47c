"""Labels that come later, through the whole service: equal to river, exactly once, whatever dies."""

import random
import time
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import pytest
from river import datasets, evaluate, metrics, stream

from service.bootstrap.wiring import build_estimator
from service.domain.specification.model import ModelSpec
from service.domain.stream.position import Position
from tests.acceptance.harness import PHISHING, Deployment, kill, metric, terminate, wait_until
from tests.budget import PLACES, STREAMS, registry_url, stream_settings
from tests.river_metrics import river_metric
from tests.services.kafka import Broker

EVENTS = 1250
REPEATS = 12


@pytest.fixture(params=STREAMS)
def kafka(request: pytest.FixtureRequest) -> dict[str, Any] | None:
    """The stream's settings; None for the embedded log."""
    return stream_settings(request, request.param)


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Where the stream and the registry are."""
    stream, database = request.param
    return {"kafka": stream_settings(request, stream), "registry_url": registry_url(request, database)}


def model(topic: str, **changes: Any) -> dict[str, Any]:
    """Phishing with labels between the events."""
    return {**PHISHING, "events": topic, "labels": topic, **changes}


def interleaved(delay: int, *, rounds: int = 1, data: Any = datasets.Phishing) -> list[bytes]:
    """River's interleaving of a data set's events and their labels, `rounds` times over with ids of their own."""
    rows = list(data().take(EVENTS)) * rounds
    found = []
    for number, x, y in stream.simulate_qa(rows, moment=None, delay=delay):
        found.append({"id": number, "x": x} if y is None else {"id": number, "y": y})
    return [msgspec.json.encode(one) for one in found]


def oracle(delay: int, *, rounds: int = 1) -> dict[str, float]:
    """What river's delayed progressive validation says."""
    accuracy, curve = metrics.Accuracy(), metrics.ROCAUC()
    for one in (accuracy, curve):
        spec = ModelSpec.model_validate(PHISHING)
        evaluate.progressive_val_score(list(datasets.Phishing()) * rounds, build_estimator(spec)[0], one, delay=delay)
    return {"Accuracy": accuracy.get(), "ROCAUC": curve.get()}


def scores(deployment: Deployment) -> dict[str, float]:
    """The same metrics, as the service has them."""
    found = deployment.state().report["cumulative"]
    return {name: found[name] for name in ("Accuracy", "ROCAUC")}


@pytest.mark.parametrize("delay", [10, 400])
@pytest.mark.parametrize("stream", ["log", "kafka-python", "librdkafka"])
def test_equals_rivers_delayed_validation(
    request: pytest.FixtureRequest, tmp_path: Path, topic: str, stream: str, delay: int
) -> None:
    """The same interleaving in one topic gives river's own metric, through the log and through Kafka by both drivers."""
    deployment = Deployment(tmp_path, model(topic), kafka=stream_settings(request, stream))
    deployment.publish(interleaved(delay))
    deployment.command("learn", "--until-end")
    assert scores(deployment) == oracle(delay)
    assert deployment.state().counts == {"learned": EVENTS, "predicted": EVENTS}


OTHERS: dict[str, tuple[str, Any, Any, str]] = {
    "tree": ("binary", "tree.HoeffdingTreeClassifier", datasets.Phishing, "F1"),
    "forest": ("binary", {"forest.ARFClassifier": {"n_models": 3}}, datasets.Bananas, "Accuracy"),
    "multiclass": ("multiclass", "naive_bayes.GaussianNB", datasets.ImageSegments, "MacroF1"),
    "regression": (
        "regression",
        ["preprocessing.StandardScaler", "linear_model.LinearRegression"],
        datasets.TrumpApproval,
        "MAE",
    ),
}


@pytest.mark.parametrize("case", OTHERS)
def test_other_models_and_tasks_equal_river(
    tmp_path: Path, kafka: dict[str, Any] | None, topic: str, case: str
) -> None:
    """Trees, forests, several classes and numbers, killed in the middle: still river's own metric."""
    task, estimator, data, name = OTHERS[case]
    spec = model(topic, task=task, estimator=estimator, metrics=[name], guard={"range_factor": 1e9})
    deployment = Deployment(tmp_path, spec, kafka=kafka)
    deployment.publish(interleaved(150, data=data))
    process = deployment.start("learn", "--until-end")
    wait_until(lambda: deployment.learned() > 0 or process.poll() is not None)
    kill(process)
    deployment.command("learn", "--until-end")
    expected = river_metric(name)
    built = build_estimator(ModelSpec.model_validate(spec))[0]
    evaluate.progressive_val_score(list(data().take(EVENTS)), built, expected, delay=150)
    found = msgspec.json.decode(deployment.command("model", "show", "phishing", "--json").stdout)
    assert found["metrics"]["cumulative"][name] == expected.get()


def test_sigkill_at_random_moments(tmp_path: Path, place: dict[str, Any], topic: str) -> None:
    """Killed again and again with thousands of events waiting, the metric is still river's, each label used once."""
    deployment = Deployment(tmp_path, model(topic), **place)
    deployment.publish(interleaved(3000, rounds=REPEATS))
    chance = random.Random(3)
    for _ in range(3):
        process = deployment.start("learn", "--until-end")
        time.sleep(chance.uniform(0.8, 1.8))
        kill(process)
    deployment.command("learn", "--until-end")
    assert scores(deployment) == oracle(3000, rounds=REPEATS)
    assert deployment.state().counts == {"learned": EVENTS * REPEATS, "predicted": EVENTS * REPEATS}


def test_every_outcome_is_counted(tmp_path: Path) -> None:
    """Labels before their events, twice, contradicting, of unknown ids, too late, and of labelled events."""
    deployment = Deployment(tmp_path, model("events", label_ttl="10s", dedupe={"events": 100}))
    x = next(iter(datasets.Phishing()))[0]
    start = 1_700_000_000_000

    def event(number: int | str, ts: int, **more: Any) -> dict[str, Any]:
        return {"id": number, "ts": start + ts, "x": x, **more}

    def label(number: int | str, ts: int, *, y: bool = True) -> dict[str, Any]:
        return {"id": number, "ts": start + ts, "y": y}

    records = [
        event("joined", 0),
        label("joined", 500),
        label("joined", 600),
        label("joined", 700, y=False),
        label("early", 700),
        event("early", 800),
        event("inline", 900, y=True),
        label("inline", 950),
        label("unknown", 1000),
        event("late", 1000),
        event("waits", 12_000),
        *(event(number, 12_500) for number in range(200)),
        label("late", 12_900),
    ]
    deployment.publish([msgspec.json.encode(one) for one in records])
    deployment.command("learn", "--until-end")
    shown = msgspec.json.decode(deployment.command("model", "show", "phishing", "--json").stdout)
    found = shown["labels"]
    assert {name: found[name] for name in ("joined", "early", "duplicate", "contradicting", "late")} == {
        "joined": 2,
        "early": 2,
        "duplicate": 2,
        "contradicting": 1,
        "late": 1,
    }
    assert found["unmatched"] == 1
    assert found["expired"] == 1
    assert shown["events"] == {"learned": 3, "predicted": 203, "dead": 0, "duplicate": 0, "pending": 201}
    assert found["share"] == pytest.approx(3 / 205)


def test_a_year_9999_event_expires_nothing(tmp_path: Path) -> None:
    """Nor do thirty of them in a row; and a pause of the stream, however long, expires nothing either."""
    deployment = Deployment(tmp_path, model("events", label_ttl="1s", guard={"max_future_skew": "999999d"}))
    rows = list(islice(datasets.Phishing(), 300))
    day = 86_400_000
    far = 253_000_000_000_000
    events = [{"id": n, "ts": 1_000_000, "x": x} for n, (x, _) in enumerate(rows)]
    events[100:100] = [{"id": f"far{n}", "ts": far, "x": rows[0][0]} for n in range(30)]
    labels = [{"id": n, "ts": 1_000_000 + 400 * day, "y": y} for n, (_, y) in enumerate(rows)]
    deployment.publish([msgspec.json.encode(one) for one in events])
    deployment.command("learn", "--until-end")
    time.sleep(1.5)
    deployment.publish([msgspec.json.encode(one) for one in labels])
    deployment.command("learn", "--until-end")
    shown = msgspec.json.decode(deployment.command("model", "show", "phishing", "--json").stdout)
    assert shown["labels"]["joined"] == 300
    assert shown["labels"]["expired"] == 0


def test_predictions_are_sent_once_durable(tmp_path: Path, kafka: dict[str, Any] | None, topic: str) -> None:
    """Through deaths every event's prediction arrives, equal repeats under one key, none before its commit."""
    told = f"{topic}.predictions"
    deployment = Deployment(tmp_path, model(topic, predictions=told), kafka=kafka)
    deployment.publish([], topic=told)
    records = interleaved(50)
    deployment.publish(records[:-200])
    for _ in range(2):
        process = deployment.start("learn", "--until-end")
        time.sleep(1.0)
        kill(process)
    process = deployment.start("learn")
    deployment.publish(records[-200:])
    wait_until(lambda: deployment.learned() >= EVENTS)
    wait_until(lambda: len(predictions(deployment, told)) >= EVENTS)
    assert metric(deployment.port(), "headrace_labels_total", outcome="joined") is not None
    terminate(process)
    found = predictions(deployment, told)
    assert sorted(one["id"] for one in found.values()) == list(range(EVENTS))
    some = found[min(found, key=lambda key: found[key]["position"]["offset"])]
    assert some["prediction"] in (True, False)
    assert sum(some["probabilities"].values()) == pytest.approx(1.0)
    assert (some["model"], some["version"]) == ("phishing", 1)


@pytest.mark.parametrize("driver", ["kafka-python", "librdkafka"])
def test_predictions_wait_for_their_topic(tmp_path: Path, broker: Broker, topic: str, driver: str) -> None:
    """While the topic is missing the log says so and learning goes on; once it is there all arrive, with nothing new."""
    told = f"{topic}.predictions"
    settings = {"bootstrap_servers": broker.bootstrap, "driver": driver}
    deployment = Deployment(tmp_path, model(topic, predictions=told), kafka=settings)
    deployment.publish(interleaved(50))
    process = deployment.start("learn")
    wait_until(lambda: deployment.learned() >= EVENTS)
    wait_until(lambda: "predictions_not_sent" in deployment.log())
    deployment.publish([], topic=told)
    wait_until(lambda: len(predictions(deployment, told)) == EVENTS)
    terminate(process)


def predictions(deployment: Deployment, topic: str) -> dict[str, dict[str, Any]]:
    """What the topic holds, by key; equal keys have equal records."""
    found: dict[str, dict[str, Any]] = {}
    with deployment.app() as app:
        source = app.source("look")
        bounds = source.bounds([topic])
        source.assign(Position({at: held.start for at, held in bounds.items()}))
        left = sum(held.end - held.start for held in bounds.values())
        while left > 0:
            runs = source.poll(timeout_s=1.0, limit=5000)
            if not runs:
                break
            for run in runs:
                left -= len(run.values)
                for value in run.values:
                    one = msgspec.json.decode(value)
                    assert found.setdefault(one["key"], one) == one
        source.close()
    return found


def test_a_refused_label_that_is_replayed_finds_its_event(tmp_path: Path) -> None:
    """A label that was out of range, and is the norm later, joins the event that has waited in the registry."""
    linear = ["preprocessing.StandardScaler", "linear_model.LinearRegression"]
    spec = model("events", task="regression", estimator=linear, metrics=[], checkpoint={"every": "50ms"})
    deployment = Deployment(tmp_path, spec)

    def event(number: int, **others: Any) -> bytes:
        return msgspec.json.encode({"id": number, "x": {"a": number % 7}, **others})

    deployment.publish([*(event(number, y=number % 5) for number in range(100)), event(1000)])
    deployment.command("learn", "--until-end")
    deployment.publish([msgspec.json.encode({"id": 1000, "y": 10**6})])
    deployment.command("learn", "--until-end")
    deployment.publish([event(2000 + number, y=10**6 + number) for number in range(60)])
    process = deployment.start("learn")
    wait_until(lambda: (deployment.newest() or 0) and deployment.newest().position.to_json()["events"]["0"] >= 162)
    letters = msgspec.json.decode(deployment.command("deadletter", "list", "phishing", "--json").stdout)
    mine = next(letter["id"] for letter in letters if letter["offset"] == 101)
    deployment.command("deadletter", "replay", "phishing", str(mine))
    shown = msgspec.json.decode(deployment.command("model", "show", "phishing", "--json").stdout)
    terminate(process)
    assert shown["labels"]["joined"] == 1
