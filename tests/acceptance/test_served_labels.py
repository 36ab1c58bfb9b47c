"""Predicted over HTTP, labelled over HTTP: each answer is scored and its features learned once, whoever dies."""

import http.client
import itertools
import json
import random
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from service.bootstrap import App
from service.domain.registry.registry import LineageId
from service.domain.registry.served_prediction import global_lineage_id
from service.domain.specification.model import ModelSpec
from service.domain.stream.events import Records, TopicPartition
from service.learning.learner.learner import Learner
from service.learning.metrics.journal import decode_segment
from service.operations.states.pending_memory import PendingMemory
from tests.acceptance.harness import PHISHING, Deployment, kill, phishing_events, predict_probes, terminate, wait_until
from tests.acceptance.rederived import whole_stream
from tests.acceptance.serving import Reply, RunningServer, start_server
from tests.budget import SHORT_LEASE_TTL, STREAMS, registry_url, stream_settings

WARM = 300
ASKED = 400
BEHIND = 40
"""So many predictions later a label comes."""
BETWEEN = 100
"""After so many the client waits until another has been killed: whatever the pace, all three die while it asks."""


@dataclass
class Replicas:
    """Two servers and a learner that are killed and come back, and a client that asks again until it is answered."""

    deployment: Deployment
    servers: list[RunningServer] = field(default_factory=list)
    learner: Any = None
    answers: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    chance: random.Random = field(default_factory=lambda: random.Random(11))
    stop: threading.Event = field(default_factory=threading.Event)
    deaths: list[str] = field(default_factory=list)
    failure: BaseException | None = None

    def start(self) -> None:
        """All three."""
        self.learner = self.deployment.start("learn", "--wait-for-lease")
        wait_until(lambda: self.deployment.learned() >= WARM)
        self.servers = [start_server(self.deployment) for _ in range(2)]

    def send(self, path: str, body: Any, *, twice: bool = False) -> list[Reply]:
        """To either replica until it is answered; sometimes once more, to the other."""
        found = [self._persistently(path, json.dumps(body))]
        if twice:
            found.append(self._persistently(path, json.dumps(body)))
        return found

    def _persistently(self, path: str, body: str) -> Reply:
        end = time.monotonic() + 300
        while time.monotonic() < end:
            server = self.chance.choice(self.servers)
            try:
                reply = server.ask(path, body, content_type="application/json")
            except (OSError, http.client.HTTPException):
                time.sleep(0.02)
                continue
            if reply.status not in {429, 503}:
                return reply
            time.sleep(0.02)
        msg = f"no answer to {path}"
        raise AssertionError(msg)

    def predict(self, key: str, x: Mapping[str, Any], *, twice: bool) -> None:
        """Keeps every answer that came."""
        for reply in self.send("/models/phishing/invocations", {"id": key, "x": x}, twice=twice):
            assert reply.status == 200, reply.body
            assert reply.headers["headrace-logged"] == "1"
            self.answers.setdefault(key, []).append(reply.json())

    def killed(self, count: int) -> None:
        """Wait until so many have been, for as long as there is a storm."""
        wait_until(lambda: len(self.deaths) >= count or self.failure is not None)

    def storm(self) -> None:
        """Kill one after another, a moment each, until told to stop."""
        try:
            for victim in itertools.cycle(["server 0", "learner", "server 1"]):
                if self.stop.wait(0.4):
                    return
                self._replace(victim)
        except BaseException as error:
            self.failure = error
            raise

    def _replace(self, victim: str) -> None:
        self.deaths.append(victim)
        if victim == "learner":
            kill(self.learner)
            self.learner = self.deployment.start("learn", "--wait-for-lease")
            time.sleep(1.5)
        else:
            number = int(victim[-1])
            kill(self.servers[number].process)
            self.servers[number] = start_server(self.deployment)


@pytest.fixture(params=STREAMS)
def deployment(request: pytest.FixtureRequest, tmp_path: Path) -> Deployment:
    """On an embedded log and SQLite, or on Kafka and PostgreSQL."""
    topic = f"served-{tmp_path.name[-12:]}"
    model = {**PHISHING, "events": topic, "labels": f"{topic}.labels", "log_predictions": True}
    kafka = stream_settings(request, request.param)
    url = None if kafka is None else registry_url(request, "postgresql")
    made = Deployment(tmp_path, model, kafka=kafka, registry_url=url, lease_ttl=SHORT_LEASE_TTL)
    made.publish([], topic=f"{topic}.labels")
    made.publish(phishing_events(WARM))
    return made


def test_each_answer_is_scored_and_learned_once_whoever_dies(deployment: Deployment) -> None:
    """What the journal says was predicted is what was answered; the model is the order's, learned once."""
    replicas = Replicas(deployment)
    replicas.start()
    asked = [msgspec.json.decode(one) for one in phishing_events(ASKED, first=WARM)]
    killer = threading.Thread(target=replicas.storm)
    killer.start()
    try:
        for number in range(ASKED + BEHIND):
            replicas.killed(number // BETWEEN)
            if number < ASKED:
                replicas.predict(f"p{number}", asked[number]["x"], twice=number % 3 == 0)
            if number >= BEHIND:
                label = {"id": f"p{number - BEHIND}", "y": asked[number - BEHIND]["y"]}
                replies = replicas.send("/models/phishing/labels", label, twice=number % 4 == 0)
                assert {reply.status for reply in replies} == {202}
            time.sleep(0.005)
    finally:
        replicas.stop.set()
        killer.join()
    assert replicas.failure is None
    assert set(replicas.deaths) == {"server 0", "server 1", "learner"}
    for server in replicas.servers:
        assert terminate(server.process) == 0
    deployment.port(replicas.learner.pid)
    assert terminate(replicas.learner) == 0
    deployment.command("learn", "--until-end")
    _require_once(deployment, replicas.answers, {f"p{n}": one["y"] for n, one in enumerate(asked)})


def _require_once(
    deployment: Deployment, answers: Mapping[str, list[dict[str, Any]]], truths: Mapping[str, bool]
) -> None:
    state = deployment.state()
    assert state.counts["learned"] == WARM + ASKED
    assert state.counts["predicted"] == ASKED
    with deployment.app() as app:
        spec = ModelSpec.model_validate(app.registry.models.get("phishing").spec)
        stream = whole_stream(app, spec.topics)
        scored = _scored(app)
        first: dict[str, int] = {}
        for offset, _, value in stream[TopicPartition(spec.events, 0)]:
            record = msgspec.json.decode(value)
            if "event" in record:
                first.setdefault(record["event"]["id"], offset)
        assert set(first) == set(truths)
        assert len(scored) == WARM + ASKED
        for key, offset in first.items():
            said = [(one["prediction"], one["probabilities"]["true"]) for one in answers[key]]
            truth, label, chance = scored[offset]
            assert truth is truths[key]
            assert (label, chance) in said or len(said) < len(_records(stream, spec, key))
        exact = [key for key in first if len(_records(stream, spec, key)) == 1]
        assert len(exact) > ASKED / 3
        for key in exact:
            (one,) = answers[key]
            assert scored[first[key]][1:] == (one["prediction"], one["probabilities"]["true"])
        stamp = global_lineage_id(next(iter(app.registry.history.lineages("phishing"))))
        again, plain = _relearned(app, spec, stream, own=[stamp]), _relearned(app, spec, stream, own=[])
    assert (dict(+again.counts), again.report(), predict_probes(again)) == (state.counts, state.report, state.probes)
    assert predict_probes(plain) == state.probes
    assert (plain.counts["learned"], plain.counts["duplicate"]) == (state.counts["learned"], state.counts["duplicate"])


def _records(stream: Mapping[TopicPartition, list[tuple[int, int, bytes]]], spec: ModelSpec, key: str) -> list[bytes]:
    """All records of one id in the events topic."""
    mark = f'"event":{{"id":"{key}"'.encode()
    return [value for _, _, value in stream[TopicPartition(spec.events, 0)] if mark in value]


def _scored(app: App) -> dict[int, tuple[Any, Any, Any]]:
    """Truth, prediction and probability by the offset of the event, each once."""
    model = app.registry.models.get("phishing")
    assert model.champion is not None
    found: dict[int, tuple[Any, Any, Any]] = {}
    for segment in app.registry.checkpoints.journal(LineageId(model.champion)):
        for run in decode_segment(segment.scores):
            chances = run.probabilities or [None] * len(run.offsets)
            for row in zip(run.offsets, run.truths, run.labels, chances, strict=True):
                assert row[0] not in found, "an event was scored twice"
                found[row[0]] = row[1:]
    return found


def _relearned(
    app: App, spec: ModelSpec, stream: Mapping[TopicPartition, list[tuple[int, int, bytes]]], *, own: list[str]
) -> Learner:
    """Without a death, in the order of the journal."""
    estimator, allowed = app.services.states.build_estimator(spec)
    learner = Learner(spec, Learner.new(spec, estimator), allowed=allowed, own_lineages=own)
    decoder, waiting = app.decoder(spec), PendingMemory()
    model = app.registry.models.get("phishing")
    assert model.champion is not None
    for segment in app.registry.checkpoints.journal(LineageId(model.champion), scores=False):
        for run in segment.order:
            at = TopicPartition(run.topic, run.partition)
            rows = [row for row in stream[at] if run.first <= row[0] < run.last]
            columns = zip(*rows, strict=True) if rows else ([], [], [])
            waiting.learn(learner, decoder.decode(Records(at, *map(list, columns), run.last)))
    return learner
