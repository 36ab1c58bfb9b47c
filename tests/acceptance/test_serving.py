"""The server answers from the newest checkpoint, in every form, and says where it came from."""

import csv
import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from river import datasets
from sqlalchemy import create_engine

from tests.acceptance.harness import STARTED, Deployment, metric, phishing_events, terminate, wait_until
from tests.acceptance.serving import RunningServer, start_server

FRESHNESS = "headrace_freshness_seconds"
XS: list[dict[str, Any]] = [x for x, _ in datasets.Phishing()]


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Deployment:
    """A model that has learned."""
    made = Deployment(tmp_path_factory.mktemp("serving"))
    made.publish(phishing_events(1200))
    made.command("learn", "--until-end")
    return made


@pytest.fixture(autouse=True, scope="module")
def _no_process_is_left() -> None:
    """The module's server outlives its tests."""


@pytest.fixture(scope="module")
def served(deployment: Deployment) -> Iterator[RunningServer]:
    """Its server."""
    started = start_server(deployment)
    yield started
    terminate(started.process)


@pytest.fixture
def _own_processes_end() -> Iterator[None]:
    """What a test starts for itself ends with it."""
    before = list(STARTED)
    yield
    for process in [one for one in STARTED if one not in before]:
        process.kill()
        process.wait()


def as_csv(rows: list[dict[str, Any]], *, header: bool = True) -> str:
    """Rows as CSV."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerows([rows[0].keys()] if header else [])
    writer.writerows(row.values() for row in rows)
    return text.getvalue()


def test_every_form_of_request_has_the_same_predictions(served: RunningServer, deployment: Deployment) -> None:
    """JSON, JSON Lines and CSV with and without a header are answered alike, by what the checkpoint would predict."""
    state = deployment.state()
    expected = [{"false": one[False], "true": one[True]} for one in state.probes[:20]]
    lines = "\n".join(json.dumps({"x": x}) for x in XS[:20])
    for body, kind in (
        (json.dumps(XS[:20]), "application/json"),
        (lines, "application/jsonlines"),
        (as_csv(XS[:20]), "text/csv"),
        (as_csv(XS[:20], header=False), "text/csv; header=absent"),
    ):
        found = served.ask("/models/phishing/invocations", body, content_type=kind)
        assert found.status == 200, found.body
        said = found.json()
        assert [one["probabilities"] for one in said["predictions"]] == expected
        assert (said["model"], said["version"], said["position"]) == ("phishing", 1, state.position)
        assert found.headers["headrace-checkpoint"] == str(said["checkpoint"])


def test_every_form_of_answer(served: RunningServer) -> None:
    """The form is chosen by Accept; an id comes back; an object is answered by an object."""
    one = served.predict({"id": "a", "x": XS[0]}).json()
    assert one["id"] == "a"
    many = json.dumps([{"id": "a", "x": XS[0]}, XS[1]])
    lines = served.ask("/invocations", many, accept="application/jsonlines")
    assert [json.loads(line)["prediction"] for line in lines.body.splitlines()] == [True, True]
    rows = list(csv.DictReader(io.StringIO(served.ask("/invocations", many, accept="text/csv").body.decode())))
    assert [row["id"] for row in rows] == ["a", ""]
    assert float(rows[0]["probability_true"]) == one["probabilities"]["true"]
    assert served.ask("/invocations", many, accept="image/png").status == 406
    assert (
        served.ask("/invocations", many, accept="image/png, text/csv;q=0.5")
        .headers["content-type"]
        .startswith("text/csv")
    )


@pytest.mark.parametrize(
    ("path", "body", "kind", "status"),
    [
        ("/invocations", "{", "application/json", 400),
        ("/invocations", "[1]", "application/json", 422),
        ("/invocations", "a,b\n1,2,3\n", "text/csv", 422),
        ("/invocations", "x", "image/png", 415),
        ("/models/nobody/invocations", "{}", "application/json", 404),
        ("/invocations?version=99", "{}", "application/json", 404),
        ("/invocations?version=x", "{}", "application/json", 422),
        ("/invocations?version=" + "9" * 5000, "{}", "application/json", 422),
    ],
)
def test_what_cannot_be_answered_is_a_problem(
    served: RunningServer, path: str, body: str, kind: str, status: int
) -> None:
    """Each is told as a problem with its status and a sentence."""
    found = served.ask(path, body, content_type=kind)
    assert (found.status, found.headers["content-type"]) == (status, "application/problem+json"), found.body
    assert found.json()["detail"]


def test_an_explanation_names_the_largest_contributions(served: RunningServer) -> None:
    """?explain=true tells what each feature has contributed, the largest first."""
    told = served.ask("/invocations?explain=true", json.dumps(XS[0])).json()["explanation"]
    sizes = [abs(one["contribution"]) for one in told["contributions"]]
    assert sizes == sorted(sizes, reverse=True)
    assert {one["feature"] for one in told["contributions"]} <= set(XS[0])
    assert served.ask("/invocations?explain=maybe", json.dumps(XS[0])).status == 422
    many = served.ask("/invocations?explain=true", json.dumps(XS[:1000])).json()["predictions"]
    assert many[0]["explanation"] == told
    assert all(one["explanation"]["contributions"] for one in many)


def test_a_kept_version_is_asked_by_its_number(served: RunningServer) -> None:
    """Version 1 answers as it was when it was made, without a checkpoint."""
    found = served.ask("/invocations?version=1", json.dumps(XS[0])).json()
    assert (found["version"], found["checkpoint"], found["position"]) == (1, None, {"phishing.events": {"0": 0}})


def test_the_guard_names_feature_and_reason(served: RunningServer) -> None:
    """Items that the guard refuses, or that name a key twice, are listed with feature and reason; nothing is predicted."""
    found = served.predict([XS[0], {**XS[1], "age_of_domain": 1e9}, {**XS[2], "is_popular": "yes"}])
    assert found.status == 422
    told = [(one["item"], one["feature"], one["reason"]) for one in found.json()["errors"]]
    assert told == [(1, "age_of_domain", "out_of_range"), (2, "is_popular", "type_changed")]
    twice = json.dumps(XS[0])[:-1] + ', "is_popular": 1}'
    for body, kind, item in (
        (twice, "application/json", 0),
        (f"[{json.dumps(XS[0])}, {twice}]", "application/json", 1),
        (f"{json.dumps(XS[0])}\n{twice}", "application/jsonlines", 1),
    ):
        found = served.ask("/invocations", body, content_type=kind)
        assert found.status == 422
        told = [(one["item"], one["feature"], one["reason"]) for one in found.json()["errors"]]
        assert told == [(item, "is_popular", "repeated_key")]


def test_probes_metrics_and_request_ids(served: RunningServer) -> None:
    """Probes answer, requests are counted by route, and a sane id is kept where an insane one is replaced."""
    before = metric(served.port, "headrace_requests_total", route="/invocations", status="200")
    assert served.get("/ping") == (200, "")
    assert served.get("/healthz")[0] == 200
    assert served.predict(XS[0], x_request_id="abc-1").headers["x-request-id"] == "abc-1"
    assert served.predict(XS[0], x_request_id="a b").headers["x-request-id"] != "a b"
    counted = {"route": "/invocations", "status": "200"}
    wait_until(lambda: metric(served.port, "headrace_requests_total", **counted) == (before or 0.0) + 2)
    assert (metric(served.port, "headrace_predictions_total", model="phishing") or 0.0) >= 2


@pytest.mark.usefixtures("_own_processes_end")
def test_it_is_not_ready_without_a_model_and_ends_when_told(tmp_path: Path) -> None:
    """Before there is a checkpoint /readyz is 503 with the reason, /ping is 200; SIGTERM ends it with 0."""
    empty = start_server(Deployment(tmp_path / "empty"), ready=False)
    status, body = empty.get("/readyz")
    assert status == 503
    assert "headrace learn phishing" in json.loads(body)["reasons"][0]
    assert empty.get("/ping")[0] == 200
    assert empty.predict(XS[0]).status == 503
    assert terminate(empty.process) == 0


@pytest.mark.usefixtures("_own_processes_end")
def test_it_follows_the_learner(tmp_path: Path) -> None:
    """What is learned answers, and how long it took from its append is told: no longer than since it was published."""
    own = Deployment(tmp_path / "own")
    own.publish(phishing_events(100))
    own.command("learn", "--until-end")
    served = start_server(own)
    assert served.predict(XS[0]).json()["position"] == {"phishing.events": {"0": 100}}
    own.start("learn")
    began = time.monotonic()
    own.publish(phishing_events(100, first=100))
    wait_until(lambda: served.predict(XS[0]).json()["position"] == {"phishing.events": {"0": 200}})
    wait_until(lambda: metric(served.port, f"{FRESHNESS}_sum", model="phishing"))
    longest = time.monotonic() - began + 0.1
    told = metric(served.port, f"{FRESHNESS}_sum", model="phishing") or 0.0
    assert told < longest * (metric(served.port, f"{FRESHNESS}_count", model="phishing") or 0.0)


@pytest.mark.usefixtures("_own_processes_end")
def test_the_last_good_state_goes_on_where_a_new_one_cannot_be_read(tmp_path: Path) -> None:
    """An altered state is told in the log, the metrics and as degraded; the server stays ready with the one before."""
    own = Deployment(tmp_path / "own")
    own.publish(phishing_events(100))
    own.command("learn", "--until-end")
    served = start_server(own)
    before = served.predict(XS[0]).json()
    url = f"sqlite:///{own.folder}/var/headrace.db"
    own.publish(phishing_events(100, first=100))
    statement = "UPDATE artifacts SET content = zeroblob(200)"
    trigger = f"CREATE TRIGGER spoil AFTER INSERT ON artifacts BEGIN {statement} WHERE digest = NEW.digest; END"
    with create_engine(url).begin() as connection:
        connection.exec_driver_sql(trigger)
    own.command("learn", "--until-end")
    wait_until(lambda: json.loads(served.get("/readyz")[1])["degraded"])
    assert served.get("/readyz")[0] == 200
    assert served.predict(XS[0]).json() == before
    wait_until(lambda: metric(served.port, "headrace_unreadable_states_total", model="phishing"))
    wait_until(lambda: "state_unreadable" in served.log)


@pytest.mark.usefixtures("_own_processes_end")
def test_a_model_that_begins_anew_is_another(tmp_path: Path) -> None:
    """A model that is deleted answers no more; one of its name, and of the same numbers, answers as itself."""
    own = Deployment(tmp_path / "own")
    own.publish(phishing_events(200))
    own.command("learn", "--until-end")
    served = start_server(own)
    old = served.predict(XS[0]).json()
    assert served.ask("/invocations?version=1", json.dumps(XS[0])).json()["probabilities"] != old["probabilities"]
    own.command("model", "delete", "phishing", "--yes")
    wait_until(lambda: served.predict(XS[0]).status == 503)
    assert served.get("/readyz")[0] == 503
    own.model = {**own.model, "estimator": ["tree.HoeffdingTreeClassifier"]}
    own.configure()
    own.command("learn", "--until-end")
    wait_until(lambda: served.predict(XS[0]).status == 200)
    wait_until(lambda: served.predict(XS[0]).json()["position"] == old["position"])
    new = served.predict(XS[0]).json()
    assert new["version"] == old["version"]
    assert new["probabilities"] != old["probabilities"]
    kept = served.ask("/invocations?version=1", json.dumps(XS[0])).json()
    assert kept["prediction"] is None or kept["probabilities"] == {}
