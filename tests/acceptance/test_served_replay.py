"""A replay of what was served: the same answers are scored again, unless something is left out."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from service.bootstrap import App
from service.domain.registry.registry import LineageId
from service.learning.metrics.journal import decode_segment
from tests.acceptance.harness import PHISHING, Deployment, phishing_events, terminate
from tests.acceptance.serving import start_server

WARM, ASKED = 200, 120


def scored(app: App, lineage: LineageId) -> dict[int, tuple[Any, Any, Any]]:
    """Truth, prediction and probability by the offset of the event."""
    found: dict[int, tuple[Any, Any, Any]] = {}
    for segment in app.registry.checkpoints.journal(lineage):
        for run in decode_segment(segment.scores):
            rows = zip(run.truths, run.labels, run.probabilities or (), strict=True)
            found |= dict(zip(run.offsets, rows, strict=True))
    return found


@pytest.fixture
def served(tmp_path: Path) -> tuple[Deployment, int]:
    """A model that learned at first from the stream, and then what was asked of a server that was far behind."""
    model = {**PHISHING, "labels": "phishing.events", "log_predictions": True}
    deployment = Deployment(tmp_path, model)
    deployment.publish(phishing_events(WARM))
    deployment.command("learn", "--until-end")
    server = start_server(deployment)
    for number, one in enumerate(map(msgspec.json.decode, phishing_events(ASKED, first=WARM))):
        item, label = {"id": f"p{number}", "x": one["x"]}, {"id": f"p{number}", "y": one["y"]}
        told = server.ask("/models/phishing/invocations", json.dumps(item), content_type="application/json")
        assert told.headers["headrace-logged"] == "1"
        sent = server.ask("/models/phishing/labels", json.dumps(label), content_type="application/json")
        assert sent.status == 202
    assert terminate(server.process) == 0
    deployment.command("learn", "--until-end")
    return deployment, WARM


def replayed(deployment: Deployment, *arguments: str) -> tuple[LineageId, LineageId]:
    """The champion before and after a rollback by replay."""
    with deployment.app() as app:
        before = app.registry.models.get("phishing").champion
    deployment.command("model", "rollback", "phishing", "--mode", "replay", *arguments)
    with deployment.app() as app:
        after = app.registry.models.get("phishing").champion
    assert before is not None
    assert after not in {None, before}
    assert after is not None
    return before, after


def test_a_replay_that_leaves_out_nothing_scores_the_answers(served: tuple[Deployment, int]) -> None:
    """Its journal is the champion's, to the last bit."""
    deployment, _ = served
    before, after = replayed(deployment, "--to", "1")
    with deployment.app() as app:
        live, again = scored(app, before), scored(app, after)
    assert len(live) == WARM + ASKED
    assert again == live


def test_one_without_what_is_excluded_predicts_for_itself(served: tuple[Deployment, int]) -> None:
    """What the champion answered, it answered with what is excluded."""
    deployment, first = served
    before, after = replayed(deployment, "--exclude", "10..60")
    with deployment.app() as app:
        live, again = scored(app, before), scored(app, after)
    assert len(again) == WARM + ASKED - 50
    assert any(live[offset] != again[offset] for offset in again if offset >= first)


def test_what_is_logged_is_told_and_what_could_not_be_scored_is_not(served: tuple[Deployment, int]) -> None:
    """Items with ids, of the champion; a version that was asked for logs nothing, and a refused request neither."""
    deployment, _ = served
    x = msgspec.json.decode(phishing_events(1)[0])["x"]
    server = start_server(deployment)

    def logged(path: str, body: Any) -> str | None:
        reply = server.ask(path, json.dumps(body), content_type="application/json")
        assert reply.status == 200, reply.body
        return reply.headers.get("headrace-logged")

    before = _end(deployment)
    assert logged("/invocations", x) == "0"
    assert logged("/invocations", {"id": "a", "x": x}) == "1"
    assert logged("/invocations", [{"id": "b", "x": x}, {"x": x}, {"id": 5, "x": x}]) == "2"
    assert logged("/invocations?version=1", {"id": "c", "x": x}) is None
    refused = server.ask("/invocations", json.dumps({"id": "d", "x": {"a": []}}), content_type="application/json")
    assert refused.status == 422
    assert _end(deployment) - before == 3
    assert terminate(server.process) == 0


def _end(deployment: Deployment) -> int:
    with deployment.app() as app:
        source = app.source("looking")
        (found,) = source.bounds(["phishing.events"]).values()
        source.close()
        return found.end
