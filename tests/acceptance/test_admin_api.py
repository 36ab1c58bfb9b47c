"""The admin API over a real client: every route, every refusal, and what the audit has of them."""

import signal
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.domain.training.report import Report, ReportFormat
from service.serving.admin.dependencies import MAX_WAITING
from tests.acceptance.admin_api import Api, open_api, shared_api
from tests.acceptance.harness import phishing_events, terminate, wait_until
from tests.acceptance.processes import pause

PROBLEM = "application/problem+json"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A server whose models nobody learns."""
    with shared_api(tmp_path_factory.mktemp("admin")) as found:
        yield found


def problem(answer: httpx.Response, status: int) -> Mapping[str, Any]:
    """The problem that it is."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, PROBLEM), answer.text
    found: Mapping[str, Any] = answer.json()
    assert found["status"] == status
    assert found["type"].startswith("urn:headrace:problem:")
    return found


def audited(api: Api, model: str = "phishing") -> list[Mapping[str, Any]]:
    """Every change of a model, oldest first."""
    found: list[Mapping[str, Any]] = api.ask("GET", f"/models/{model}/audit", params={"limit": 200}).json()["items"]
    return found


def test_a_model_is_told_as_the_command_line_tells_it(api: Api) -> None:
    """Lists and details hold what `headrace model` prints."""
    with api.deployment.app() as app:
        newest = app.registry.checkpoints.newest_first(app.registry.models.get("phishing").champion or 0)[0]
    listed = {one["name"]: one for one in api.ask("GET", "/models").json()["items"]}
    assert (listed["phishing"]["learned"], listed["other"]["learned"]) == (1000, 500)
    shown = api.ask("GET", "/models/phishing").json()
    assert shown["events"] == {"learned": 1000, "predicted": 0, "dead": 2, "duplicate": 0, "pending": 0}
    assert (shown["checkpoint"]["id"], shown["position"]) == (newest.id, newest.position.to_json())
    assert shown["metrics"]["cumulative"]["Accuracy"] == listed["phishing"]["metrics"]["Accuracy"]


def test_acts_are_carried_out_and_audited_with_the_token(api: Api) -> None:
    """Snapshot, freeze, unfreeze and rollback do what the command line does; the audit has the token's name and why."""
    begun = len(audited(api))
    made = api.ask("POST", "/models/phishing/snapshot", "operator", json={"alias": "before", "reason": "a sale"})
    assert (made.status_code, made.json()["status"], made.json()["requested_by"]) == (200, "done", "operator")
    (version,) = [one for one in api.ask("GET", "/models/phishing/versions").json()["items"] if one["alias"]]
    assert (version["alias"], made.json()["outcome"]) == (["before"], f"version {version['number']}")
    api.ask("POST", "/models/phishing/freeze", "operator", json={"reason": "look first"})
    assert api.ask("GET", "/models/phishing").json()["frozen"]
    api.ask("POST", "/models/phishing/unfreeze", "operator", json={})
    assert not api.ask("GET", "/models/phishing").json()["frozen"]
    outlook = api.ask("POST", "/models/phishing/rollback", "operator", json={"to": "before", "dry_run": True}).json()
    assert outlook == {
        "model": "phishing",
        "mode": "restore",
        "to": f"version {version['number']}",
        "version": version["number"],
    }
    back = api.ask("POST", "/models/phishing/rollback", "operator", json={"to": "1", "reason": "worse"}).json()
    assert api.ask("GET", f"/commands/{back['id']}").json() == back
    told = [(one["actor"], one["action"], one["reason"]) for one in audited(api)[begun:]]
    assert told == [
        ("operator", "snapshot", "a sale"),
        ("operator", "freeze", "look first"),
        ("operator", "unfreeze", ""),
        ("operator", "rollback", "worse"),
    ]


def test_versions_are_compared(api: Api) -> None:
    """A version is shown whole, two are compared, and a report that there is not is not found."""
    first = api.ask("GET", "/models/phishing/versions/1").json()
    assert (first["number"], first["kind"], first["spec"]["name"]) == (1, "initial", "phishing")
    api.ask("POST", "/models/phishing/snapshot", json={})
    newest = api.ask("GET", "/models/phishing/versions", params={"limit": 200}).json()["items"][-1]["number"]
    found = api.ask("GET", "/models/phishing/diff", params={"one": 1, "other": newest}).json()
    assert (found["versions"], found["probes"] > 100) == ([1, newest], True)
    problem(api.ask("GET", f"/models/phishing/versions/{newest}/report"), 404)
    problem(api.ask("GET", "/models/phishing/versions/99"), 404)


def test_metrics_have_a_history(api: Api) -> None:
    """Any metric over any window, within a range; a metric that there is not is a problem that says so."""
    given = {"metric": ["F1", "{FBeta: {beta: 2}}"], "window": 100, "from": "200", "to": "401"}
    found = api.ask("GET", "/models/other/metrics", params=given).json()
    assert (len(found["metrics"]), found["metrics"][0], found["window"], found["scored"]) == (2, "F1", 100, 500)
    assert found["metrics"][1].startswith("FBeta")
    assert 200 <= found["points"][0]["event"] <= found["points"][-1]["event"] <= 400
    assert problem(api.ask("GET", "/models/other/metrics", params={"metric": "Akkuracy"}), 422)["detail"]


def test_exclusions_come_and_go(api: Api) -> None:
    """One is added, listed, refused where it is not in the stream, and removed; the audit has both."""
    made = api.ask("POST", "/models/other/exclusions", "operator", json={"stretch": "100..200", "reason": "swapped"})
    assert (made.status_code, made.json()["stretch"], made.json()["created_by"]) == (
        201,
        "other.events/0:100..200",
        "operator",
    )
    assert api.ask("GET", "/models/other/exclusions").json()["items"] == [made.json()]
    assert (
        "expected one of the model's partitions"
        in problem(api.ask("POST", "/models/other/exclusions", json={"stretch": "7:1..2"}), 422)["detail"]
    )
    assert api.ask("DELETE", f"/models/other/exclusions/{made.json()['id']}", "operator").status_code == 204
    problem(api.ask("DELETE", f"/models/other/exclusions/{made.json()['id']}"), 404)
    assert (
        api.ask("GET", "/models/other/exclusions", params={"removed": True}).json()["items"][0]["removed_by"]
        == "operator"
    )
    assert [one["action"] for one in audited(api, "other")][-2:] == ["exclude", "include"]


def test_a_replay_begins_and_is_learned_by_who_learns(api: Api) -> None:
    """Its outlook is told first; begun it is 202, is seen in the model, and `headrace replay` learns it to its end."""
    wish = {"exclude": ["0:300..310"], "reason": "swapped labels"}
    outlook = api.ask("POST", "/models/other/rollback", json={**wish, "dry_run": True}).json()
    assert (outlook["mode"], outlook["left_out"], outlook["excluded"]) == ("replay", 10, ["other.events/0:300..310"])
    begun = api.ask("POST", "/models/other/rollback", "operator", json=wish)
    assert (begun.status_code, begun.headers["location"]) == (202, "/api/v1/models/other")
    (replay,) = api.ask("GET", "/models/other").json()["replays"]
    assert (replay["lineage"], replay["reason"]) == (begun.json()["lineage"], "swapped labels")
    api.deployment.command("replay", "--until-done")
    assert api.ask("GET", "/models/other").json()["events"]["learned"] == 490
    newest = audited(api, "other")[-1]
    assert (newest["actor"], newest["action"], newest["evidence"]["mode"]) == ("operator", "rollback", "replay")


def test_jobs_are_asked_for_and_stopped(api: Api) -> None:
    """One at a time; it waits for a trainer, says so, and Stopped is not Completed."""
    made = api.ask("POST", "/models/phishing/jobs", "operator", json={"reason": "a new season"})
    assert (made.status_code, made.json()["state"], made.json()["trained"]) == (201, "Starting", False)
    number = made.json()["id"]
    assert "headrace job stop" in problem(api.ask("POST", "/models/phishing/jobs", json={}), 409)["help"]
    assert api.ask("GET", f"/models/phishing/jobs/{number}").json()["transitions"][0]["state"] == "Starting"
    problem(api.ask("GET", f"/models/other/jobs/{number}"), 404)
    stopped = api.ask("POST", f"/models/phishing/jobs/{number}/stop", "operator", json={"reason": "not now"}).json()
    assert stopped["state"] == "Stopped"
    assert api.ask("GET", f"/models/phishing/jobs/{number}").json()["transitions"][-1]["reason"] == "operator: not now"
    problem(api.ask("POST", f"/models/phishing/jobs/{number}/stop", json={}), 409)
    logs = api.ask("GET", f"/models/phishing/jobs/{number}/logs")
    assert (logs.status_code, logs.headers["content-type"]) == (200, "text/plain; charset=utf-8")


def test_dead_letters_are_read_page_by_page(api: Api) -> None:
    """Newest first, a page at a time by the Link header, with their bytes; replaying one needs a learner."""
    with api.client() as client:
        first = client.get("/api/v1/models/phishing/dead-letters", params={"limit": 1})
        second = client.get(first.links["next"]["url"])
    assert "next" not in second.links
    letters = [*first.json()["items"], *second.json()["items"]]
    assert [one["reason"] for one in letters] == ["not_an_object", "not_json"]
    shown = api.ask("GET", f"/models/phishing/dead-letters/{letters[1]['id']}").json()
    assert (shown["payload"], shown["payload_base64"]) == ("{", "ew==")
    assert len(api.ask("GET", "/models/phishing/dead-letters", params={"reason": "not_json"}).json()["items"]) == 1
    refused = problem(api.ask("POST", f"/models/phishing/dead-letters/{letters[1]['id']}/replay"), 409)
    assert refused["help"] == "headrace learn phishing"


def test_drift_and_challengers_are_shown(api: Api) -> None:
    """A model without monitors has none, and one that nobody challenges has no challenger to promote."""
    assert api.ask("GET", "/models/phishing/drift").json()["monitors"] == []
    assert api.ask("GET", "/models/phishing/challengers", params={"ended": True}).json()["items"] == []
    assert (
        "found no challenger"
        in problem(api.ask("POST", "/models/phishing/promote", json={"version": 1}), 404)["detail"]
    )


@pytest.mark.parametrize("path", ["models", "models/phishing/versions", "models/phishing/audit", "tokens", "jobs"])
def test_pages_are_the_whole_list_once(api: Api, path: str) -> None:
    """Going from page to page gives every row once, in the order of the whole."""
    for _ in range(2):
        api.ask("POST", "/models/phishing/snapshot", json={})
        stopped = api.ask("POST", "/models/phishing/jobs", json={}).json()["id"]
        api.ask("POST", f"/models/phishing/jobs/{stopped}/stop", json={})
    whole = api.ask("GET", f"/{path}", params={"limit": 200}).json()["items"]
    found: list[Any] = []
    with api.client() as client:
        page = client.get(f"/api/v1/{path}", params={"limit": 1})
        found += page.json()["items"]
        while "next" in page.links:
            page = client.get(page.links["next"]["url"])
            found += page.json()["items"]
    assert len(whole) >= 2
    assert found == whole


def test_what_has_not_changed_is_not_sent_again(api: Api) -> None:
    """A read with the tag of the last answer is 304 until something changes."""
    first = api.ask("GET", "/models/phishing")
    tag = first.headers["etag"]
    for given in (tag, f'W/{tag}, "other"', "*"):
        again = api.ask("GET", "/models/phishing", headers={"If-None-Match": given})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    api.ask("POST", "/models/phishing/freeze", json={})
    changed = api.ask("GET", "/models/phishing", headers={"If-None-Match": tag})
    assert (changed.status_code, changed.headers["etag"] != tag) == (200, True)
    api.ask("POST", "/models/phishing/unfreeze", json={})


def test_a_repeated_write_is_done_once(api: Api) -> None:
    """The same request under its key is answered as before, of twenty at once one is done, and another is refused."""

    def snapshots() -> int:
        return len(api.ask("GET", "/models/phishing/versions", params={"limit": 200}).json()["items"])

    def asked(key: str, reason: str = "", name: str = "operator") -> httpx.Response:
        given = {"headers": {"Idempotency-Key": key}, "json": {"reason": reason}}
        return api.ask("POST", "/models/phishing/snapshot", name, **given)

    before = snapshots()
    first, second = asked("one"), asked("one")
    assert (first.json(), snapshots()) == (second.json(), before + 1)
    assert ("idempotency-replayed" in first.headers, second.headers["idempotency-replayed"]) == (False, "true")
    assert problem(asked("one", "another"), 422)["type"].endswith("key-reused")
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: asked("many"), range(20)))
    assert {one.status_code for one in answers} <= {200, 409}
    assert len({one.json()["id"] for one in answers if one.status_code == 200}) == 1
    assert snapshots() == before + 2
    assert asked("one", name="admin").json()["id"] != first.json()["id"]
    assert problem(asked("a key"), 422)["detail"].startswith("found an Idempotency-Key that is none")


def test_acts_that_meet_are_all_done(api: Api) -> None:
    """Of acts that come at once to a server, each is carried out: none takes another's right to write the model."""

    def asked(number: int) -> tuple[int, str]:
        act = ("freeze", "unfreeze", "snapshot")[number % 3]
        found = api.ask(
            "POST", f"/models/phishing/{act}", "operator", params={"wait": 30}, json={"reason": f"{number}"}
        )
        return found.status_code, found.text

    begun = len(audited(api))
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(asked, range(24)))
    assert [one for one in answers if one[0] != 200] == []
    assert sorted(int(one["reason"]) for one in audited(api)[begun:]) == list(range(24))
    api.ask("POST", "/models/phishing/unfreeze", json={})


def test_a_refusal_is_repeated_and_what_was_malformed_may_be_mended(api: Api) -> None:
    """An answer by key is that of the first time, also where it was a refusal."""
    given = {"headers": {"Idempotency-Key": "refused"}}
    first = problem(api.ask("POST", "/models/ghost/freeze", json={}, **given), 404)
    again = api.ask("POST", "/models/ghost/freeze", json={}, **given)
    assert (again.json(), again.headers["idempotency-replayed"]) == (first, "true")


def test_a_secret_is_told_once(api: Api) -> None:
    """A token that is made under a key twice is made once, and its text is kept nowhere to be told again."""
    given = {"headers": {"Idempotency-Key": "token"}, "json": {"name": "once", "role": "viewer", "expires_in": 60}}
    made = api.ask("POST", "/tokens", **given)
    assert (made.status_code, made.headers["cache-control"]) == (201, "no-store")
    text = made.json()["token"]
    assert "shown once" in problem(api.ask("POST", "/tokens", **given), 409)["detail"]
    assert [one["name"] for one in api.ask("GET", "/tokens").json()["items"]].count("once") == 1
    folder = api.deployment.folder / "var"
    assert not any(text[21:].encode() in file.read_bytes() for file in folder.rglob("*") if file.is_file())


@pytest.mark.parametrize(
    ("method", "path", "given", "status"),
    [
        ("POST", "/models/phishing/freeze", {"content": b"{", "headers": {"Content-Type": "application/json"}}, 422),
        ("POST", "/models/phishing/freeze", {"json": {"raeson": "x"}}, 422),
        ("POST", "/models/phishing/freeze", {"json": {"reason": "a\x00b"}}, 422),
        ("POST", "/models/phishing/rollback", {"json": {}}, 422),
        ("POST", "/models/phishing/rollback", {"json": {"to": "1", "at": "2026-01-31T12:00:00Z"}}, 422),
        ("POST", "/models/phishing/rollback", {"json": {"to": "1", "exclude": ["1..2"], "mode": "restore"}}, 422),
        ("POST", "/models/phishing/rollback", {"json": {"to": "99"}}, 404),
        ("POST", "/models/phishing/rollback", {"json": {"at": "2001-01-31T12:00:00Z"}}, 404),
        ("POST", "/models/phishing/rollback", {"json": {"at": "2026-99"}}, 422),
        ("POST", "/models/phishing/rollback", {"json": {"mode": "replay"}}, 409),
        ("GET", "/models/phishing/versions?limit=0", {}, 422),
        ("GET", "/models/phishing/versions?after=x", {}, 422),
        ("GET", f"/models/phishing/versions/{2**63}", {}, 422),
        ("GET", "/models/Phishing%00", {}, 422),
        ("GET", "/models/ghost", {}, 404),
        ("GET", "/nowhere", {}, 404),
        ("PUT", "/models", {}, 405),
        ("POST", "/tokens", {"json": {"name": "trainer", "role": "viewer"}}, 422),
        ("POST", "/tokens", {"json": {"name": "x", "role": "viewer", "models": ["ghost"]}}, 404),
        ("POST", "/tokens", {"json": {"name": "admin", "role": "viewer"}}, 409),
        ("DELETE", "/tokens/999", {}, 404),
        ("DELETE", "/models/ghost", {}, 404),
        ("GET", "/commands/999999", {}, 404),
    ],
)
def test_what_cannot_be_is_a_problem(api: Api, method: str, path: str, given: dict[str, Any], status: int) -> None:
    """Whatever is wrong is told in one form, with the address asked, and without what was sent."""
    found = problem(api.ask(method, path, **given), status)
    assert found["detail"]
    assert found["instance"].startswith("/api/v1/")


def test_every_fault_of_a_body_is_listed(api: Api) -> None:
    """Each with its place."""
    found = problem(api.ask("POST", "/tokens", json={"name": "9", "role": "king", "x": 1}), 422)
    assert {one["at"] for one in found["errors"]} == {"body.name", "body.role", "body.x"}


def test_an_address_names_its_methods(api: Api) -> None:
    """A 405 lists all that the address knows."""
    assert api.ask("PUT", "/models/phishing/jobs").headers["allow"] == "GET, POST"


def test_the_page_of_the_api_is_for_everybody(api: Api) -> None:
    """`/docs` shows the specification."""
    with api.client(None) as client:
        assert "/api/v1/openapi.json" in client.get("/docs").text


def test_the_learner_carries_out_what_is_asked(tmp_path: Path) -> None:
    """While a learner writes the model a command waits for it: 202 with an address at once, done there a moment later.

    The learner stands still while it is asked, so that it cannot have been quicker.
    """
    api = open_api(tmp_path, lease_ttl="60s")
    learner = api.deployment.start("learn", "phishing")
    wait_until(lambda: (api.ask("GET", "/models/phishing").json()["writer"] or {"epoch": 0})["epoch"] >= 2)
    pause(learner, tmp_path / "var" / "headrace.db")
    asked = api.ask("POST", "/models/phishing/snapshot", params={"wait": 0}, json={"reason": "by the learner"})
    learner.send_signal(signal.SIGCONT)
    assert (asked.status_code, asked.json()["status"]) == (202, "pending")
    with api.client() as client:
        wait_until(lambda: client.get(asked.headers["location"]).json()["status"] == "done")
    waited = api.ask("POST", "/models/phishing/snapshot", params={"wait": 20}, json={})
    assert (waited.status_code, waited.json()["status"]) == (200, "done")
    letter = api.ask("GET", "/models/phishing/dead-letters").json()["items"][0]["id"]
    refused = problem(api.ask("POST", f"/models/phishing/dead-letters/{letter}/replay", params={"wait": 20}), 409)
    assert refused["detail"].startswith("refused again")
    held = problem(api.ask("DELETE", "/models/phishing", params={"reason": "old"}), 409)
    assert held["type"].endswith("lease-held")
    api.deployment.publish(phishing_events(100, first=1000))
    wait_until(lambda: api.ask("GET", "/models/phishing").json()["events"]["learned"] == 1100)
    assert terminate(learner) == 0
    assert api.ask("DELETE", "/models/phishing", params={"reason": "old"}).status_code == 204
    problem(api.ask("GET", "/models/phishing"), 404)
    newest = audited(api)[-1]
    assert (newest["actor"], newest["action"], newest["reason"]) == ("admin", "delete", "old")


def test_a_challenger_takes_over_by_hand(tmp_path: Path) -> None:
    """What a new specification has begun is listed as challenger, and promoted with the token's name as who and why."""
    api = open_api(tmp_path)
    deployment = api.deployment
    deployment.model["estimator"] = ["preprocessing.StandardScaler", "linear_model.Perceptron"]
    deployment.configure()
    deployment.command("model", "apply", "phishing")
    (challenger,) = api.ask("GET", "/models/phishing/challengers").json()["items"]
    wish = {"version": challenger["version"], "reason": "trusted"}
    done = api.ask("POST", "/models/phishing/promote", "operator", json=wish)
    assert (done.status_code, done.json()["status"]) == (200, "done"), done.text
    assert api.ask("GET", "/models/phishing").json()["champion"]["version"] != 1
    newest = audited(api)[-1]
    assert (newest["actor"], newest["action"], newest["reason"]) == ("operator", "promote", "trusted")
    assert newest["evidence"]["by_hand"] is True


def test_a_report_is_read_in_its_formats(api: Api) -> None:
    """Markdown unless another is asked for."""
    kept_ = [Report("phishing", 1, form, f"<{form}>", datetime.now(UTC)) for form in ReportFormat]
    with api.deployment.app() as app:
        app.registry.reports.save(kept_)
    for form, kind in (("markdown", "text/markdown"), ("html", "text/html"), ("json", "application/json")):
        found = api.ask("GET", "/models/phishing/versions/1/report", params={"format": form})
        assert (found.text, found.headers["content-type"].partition(";")[0]) == (f"<{form}>", kind)
    assert api.ask("GET", "/models/phishing/versions/1/report").text == "<markdown>"


def test_it_works_over_postgresql(tmp_path: Path, postgres_url: str) -> None:
    """Tokens, acts, pages, keys and numbers of any size, over the other database."""
    api = open_api(tmp_path, registry_url=postgres_url)
    key = {"Idempotency-Key": "one"}
    with ThreadPoolExecutor(10) as pool:
        asked = [pool.submit(api.ask, "POST", "/models/phishing/snapshot", json={}, headers=key) for _ in range(10)]
    assert {one.result().status_code for one in asked} <= {200, 409}
    assert [one["number"] for one in api.ask("GET", "/models/phishing/versions").json()["items"]] == [1, 2]
    assert api.ask("POST", "/models/phishing/rollback", "operator", json={"to": "1"}).status_code == 200
    assert audited(api)[-1]["actor"] == "operator"
    for path in ("versions", "jobs", "dead-letters", "exclusions"):
        number = api.ask("GET", f"/models/phishing/{path}/{2**53}")
        assert number.status_code in {404, 405}, number.text
        assert api.ask("GET", f"/models/phishing/{path}", params={"after": 2**53}).status_code == 200
    assert api.ask("GET", f"/commands/{2**53}").status_code == 404
    assert api.ask("DELETE", f"/tokens/{2**53}").status_code == 404


def test_many_that_wait_keep_nobody_out(tmp_path: Path) -> None:
    """While more commands wait for a process that stands still than may wait, others are answered and told of theirs."""
    api = open_api(tmp_path, lease_ttl="60s")
    learner = api.deployment.start("learn", "phishing")
    wait_until(lambda: (api.ask("GET", "/models/phishing").json()["writer"] or {"epoch": 0})["epoch"] >= 2)
    pause(learner, tmp_path / "var" / "headrace.db")
    try:
        with ThreadPoolExecutor(50) as pool:
            given = {"params": {"wait": 10}, "json": {}}
            asked = [pool.submit(api.ask, "POST", "/models/phishing/snapshot", "operator", **given) for _ in range(48)]
            wait_until(lambda: sum(one.done() for one in asked) == 48 - MAX_WAITING)
            assert api.ask("GET", "/models/other", "viewer").status_code == 200
            assert {one.result().status_code for one in asked} == {202}
    finally:
        learner.send_signal(signal.SIGCONT)
