"""Each role can do exactly what it should, over every route of the server."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute
from prometheus_client import CollectorRegistry
from starlette.routing import BaseRoute, Mount, Route

from service.bootstrap.queries import server_queries
from service.bootstrap.server import build_ingestor, build_model_cache, server_routes
from service.cli import children
from service.domain.access.access import AccessRole
from service.metrics.server import PrometheusServerTelemetry
from tests.acceptance.admin_api import Api, open_api, shared_api
from tests.acceptance.harness import terminate, wait_until

VIEWER, OPERATOR, ADMIN = AccessRole
PUBLIC = None
V1 = "/api/v1"
ACCESS: dict[tuple[str, str], AccessRole | None] = {
    ("POST", "/models/{m}/events"): OPERATOR,
    ("POST", "/models/{m}/labels"): OPERATOR,
    ("GET", "/ping"): PUBLIC,
    ("GET", "/healthz"): PUBLIC,
    ("GET", "/readyz"): PUBLIC,
    ("GET", "/metrics"): PUBLIC,
    ("GET", "/docs"): PUBLIC,
    ("GET", f"{V1}/openapi.json"): PUBLIC,
    ("POST", "/invocations"): VIEWER,
    ("POST", "/models/{m}/invocations"): VIEWER,
    ("GET", f"{V1}/me"): VIEWER,
    ("GET", f"{V1}/models"): VIEWER,
    ("GET", f"{V1}/models/{{model}}"): VIEWER,
    ("DELETE", f"{V1}/models/{{model}}"): ADMIN,
    ("GET", f"{V1}/models/{{model}}/metrics"): VIEWER,
    ("GET", f"{V1}/models/{{model}}/challengers"): VIEWER,
    ("GET", f"{V1}/models/{{model}}/versions"): VIEWER,
    ("GET", f"{V1}/models/{{model}}/versions/{{version}}"): VIEWER,
    ("GET", f"{V1}/models/{{model}}/versions/{{version}}/report"): VIEWER,
    ("GET", f"{V1}/models/{{model}}/diff"): VIEWER,
    ("POST", f"{V1}/models/{{model}}/snapshot"): OPERATOR,
    ("POST", f"{V1}/models/{{model}}/freeze"): OPERATOR,
    ("POST", f"{V1}/models/{{model}}/unfreeze"): OPERATOR,
    ("POST", f"{V1}/models/{{model}}/apply"): OPERATOR,
    ("POST", f"{V1}/models/{{model}}/promote"): OPERATOR,
    ("POST", f"{V1}/models/{{model}}/rollback"): OPERATOR,
    ("GET", f"{V1}/commands/{{command}}"): VIEWER,
    ("GET", f"{V1}/models/{{model}}/exclusions"): VIEWER,
    ("POST", f"{V1}/models/{{model}}/exclusions"): OPERATOR,
    ("DELETE", f"{V1}/models/{{model}}/exclusions/{{exclusion}}"): OPERATOR,
    ("GET", f"{V1}/jobs"): VIEWER,
    ("GET", f"{V1}/models/{{model}}/jobs"): VIEWER,
    ("POST", f"{V1}/models/{{model}}/jobs"): OPERATOR,
    ("GET", f"{V1}/models/{{model}}/jobs/{{job}}"): VIEWER,
    ("POST", f"{V1}/models/{{model}}/jobs/{{job}}/stop"): OPERATOR,
    ("GET", f"{V1}/models/{{model}}/jobs/{{job}}/logs"): VIEWER,
    ("GET", f"{V1}/models/{{model}}/drift"): VIEWER,
    ("POST", f"{V1}/models/{{model}}/drift/check"): OPERATOR,
    ("POST", f"{V1}/models/{{model}}/replay"): OPERATOR,
    ("GET", f"{V1}/models/{{model}}/dead-letters"): VIEWER,
    ("GET", f"{V1}/models/{{model}}/dead-letters/{{letter}}"): VIEWER,
    ("POST", f"{V1}/models/{{model}}/dead-letters/{{letter}}/replay"): OPERATOR,
    ("GET", f"{V1}/models/{{model}}/audit"): VIEWER,
    ("GET", f"{V1}/audit"): ADMIN,
    ("GET", f"{V1}/tokens"): ADMIN,
    ("POST", f"{V1}/tokens"): ADMIN,
    ("DELETE", f"{V1}/tokens/{{token}}"): ADMIN,
}
"""What each route needs; a route that is not here fails the test below."""
OF_ALL_MODELS = {("GET", f"{V1}/audit")} | {one for one in ACCESS if one[1].startswith(f"{V1}/tokens")}
"""Routes for tokens of every model only."""
HARMLESS = {"model": "ghost", "m": "ghost"}
"""A model that there is not: whoever is let in finds nothing, and nobody harms anything."""


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A server with a token for each role."""
    with shared_api(tmp_path_factory.mktemp("access")) as found:
        yield found


def addressed(found: list[BaseRoute], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Method and address of every route, those of applications that are mounted, too."""
    for route in found:
        if isinstance(route, Mount):
            yield from addressed(list(route.routes), prefix + route.path)
        elif hasattr(route, "original_router"):
            yield from addressed(route.original_router.routes, prefix)
        elif isinstance(route, Route | APIRoute):
            yield from ((method, prefix + route.path) for method in (route.methods or ()) if method != "HEAD")
        else:
            pytest.fail(f"found a route of a kind that the table cannot have: {route!r}")


def test_every_route_is_in_the_table(api: Api) -> None:
    """A new route fails here until it is said who may ask it."""
    with api.deployment.app() as app:
        telemetry = PrometheusServerTelemetry(CollectorRegistry())
        asked_of = server_queries(app.settings, api.deployment.folder / "headrace.yaml", command=children.QUERY)
        found = server_routes(
            app,
            build_model_cache(app, telemetry, None),
            build_ingestor(app),
            queries=asked_of,
            telemetry=telemetry,
            metrics=bytes,
        )
        assert set(addressed(found)) == set(ACCESS)


def asked(api: Api, route: tuple[str, str], name: str | None, **places: str) -> int:
    """The status of a request to it that changes nothing."""
    method, path = route
    for part in ("model", "m", "version", "command", "exclusion", "job", "letter", "token"):
        path = path.replace(f"{{{part}}}", {**HARMLESS, **places}.get(part, "999999"))
    given: dict[str, Any] = {"json": {}} if method == "POST" else {}
    with api.client(name) as client:
        return client.request(method, path, **given).status_code


@pytest.mark.parametrize("route", [one for one in ACCESS if ACCESS[one] is not PUBLIC], ids=" ".join)
def test_a_role_may_do_what_it_should_and_no_more(api: Api, route: tuple[str, str]) -> None:
    """Without a token 401; with a role below the needed one 403; with that or a higher one it is let in."""
    needed = ACCESS[route]
    assert needed is not None
    assert asked(api, route, None) == 401
    for role in AccessRole:
        status = asked(api, route, role.value)
        assert (status == 403) is not role.covers(needed), (role, status)
        assert status != 401


@pytest.mark.parametrize("route", [one for one in ACCESS if ACCESS[one] is not PUBLIC], ids=" ".join)
def test_a_token_touches_its_own_models_only(api: Api, route: tuple[str, str]) -> None:
    """Of another model every route says 403, whether there is such a model or not; tokens are for all models only."""
    for role, place in product(AccessRole, ("ghost", "phishing")):
        status = asked(api, route, f"{role}-of-other", model=place, m=place)
        of_model = "{m}" in route[1] or "{model}" in route[1]
        if of_model or route in OF_ALL_MODELS or not role.covers(ACCESS[route] or VIEWER):
            assert status == 403, (role, place)
        else:
            assert status not in {401, 403}, (role, place)


@pytest.mark.parametrize("route", [one for one in ACCESS if ACCESS[one] is PUBLIC], ids=" ".join)
def test_what_is_public_needs_no_token(api: Api, route: tuple[str, str]) -> None:
    """Probes and the specification are for everybody."""
    assert asked(api, route, None) in {200, 503}


def test_lists_show_a_token_its_own_models(api: Api) -> None:
    """Models and jobs of others are not in them, nor can their commands be read."""
    names = [one["name"] for one in api.ask("GET", "/models", "viewer-of-other").json()["items"]]
    assert names == ["other"]
    assert len(api.ask("GET", "/models", "viewer").json()["items"]) == 2
    for model in ("phishing", "other"):
        api.ask("POST", f"/models/{model}/jobs", json={})
    assert {one["model"] for one in api.ask("GET", "/jobs", "viewer-of-other").json()["items"]} == {"other"}
    assert {one["model"] for one in api.ask("GET", "/jobs", "viewer").json()["items"]} == {"other", "phishing"}
    for model, status in (("phishing", 404), ("other", 200)):
        command = api.ask("POST", f"/models/{model}/freeze", json={}).json()["id"]
        api.ask("POST", f"/models/{model}/unfreeze", json={})
        assert api.ask("GET", f"/commands/{command}", "viewer-of-other").status_code == status


def test_the_only_model_is_that_of_the_token(api: Api) -> None:
    """`/invocations` is for the one model that a token may see, and names no other."""
    with api.client("viewer-of-other") as client:
        assert client.post("/invocations", json={"a": 1}).headers["headrace-model"] == "other"
    with api.client("viewer") as client:
        assert client.post("/invocations", json={"a": 1}).status_code == 409
    with api.client(None) as client:
        assert "phishing" not in client.post("/invocations", json={"a": 1}).text


def test_a_revoked_token_is_out_within_seconds(api: Api) -> None:
    """What was good a moment ago soon is no more, and not after minutes only; who revoked it is in the audit."""
    made = api.ask("POST", "/tokens", json={"name": "brief", "role": "viewer"}).json()
    api.tokens["brief"] = made["token"]
    assert api.ask("GET", "/me", "brief").json() == {"name": "brief", "role": "viewer", "models": None}
    assert api.ask("DELETE", f"/tokens/{made['id']}", params={"reason": "lost"}).status_code == 204
    wait_until(lambda: api.ask("GET", "/me", "brief").status_code == 401, timeout_s=60)
    newest = api.ask("GET", "/audit").json()["items"][-1]
    assert (newest["actor"], newest["action"], newest["reason"]) == ("admin", "token_revoke", "lost")


def test_no_token_is_in_a_log_or_an_error(api: Api) -> None:
    """Good or bad, in the header or where it does not belong, no secret comes back and none is written down."""
    secret = api.tokens["admin"]
    for given in (
        {"headers": {"Authorization": f"Bearer {secret}x"}},
        {"headers": {"Authorization": f"Basic {secret}"}},
        {"json": {"token": secret}},
        {"content": secret},
    ):
        answer = api.ask("POST", "/models/phishing/snapshot", **given)
        assert 400 <= answer.status_code < 500
        assert secret[21:] not in answer.text + str(answer.headers)
    assert all(token[21:] not in api.deployment.log() for token in api.tokens.values())
    assert all(token[21:] not in api.ask("GET", "/audit").text for token in api.tokens.values())


def test_predictions_may_be_open(tmp_path: Path) -> None:
    """With `open_predictions` nobody needs a token for a prediction, and everybody for everything else."""
    found = open_api(tmp_path, open_predictions=True)
    with found.client(None) as client:
        assert client.post("/models/phishing/invocations", json={"a": 1}).status_code in {200, 422}
        assert client.post("/models/ghost/invocations", json={"a": 1}).status_code == 404
        assert client.get("/api/v1/models").status_code == 401


def test_a_token_is_limited_to_its_rate(tmp_path: Path) -> None:
    """Past `server.rate` a token is told to wait, and the next is not."""
    found = open_api(tmp_path, rate=1)
    with found.client("viewer") as client:
        assert client.get("/api/v1/me").status_code == 200
        answers = (client.get("/api/v1/me") for _ in range(100))
        refused = next(one for one in answers if one.status_code != 200)
    assert refused.status_code == 429
    assert (refused.headers["retry-after"], refused.json()["type"]) == ("1", "urn:headrace:problem:too-many")
    assert found.ask("GET", "/me", "operator").status_code == 200


def test_a_server_that_has_looked_a_token_up_ends_when_told(tmp_path: Path) -> None:
    """SIGTERM ends it with 0, though the threads that asked the registry wait for more."""
    found = open_api(tmp_path)
    assert found.ask("GET", "/me", "operator").status_code == 200
    assert terminate(found.served.process) == 0


def test_an_open_server_listens_on_loopback_only(tmp_path: Path) -> None:
    """Any other address without `auth: tokens` is refused at the start, with the command that helps."""
    found = open_api(tmp_path)
    found.deployment.server = {}
    found.deployment.configure()
    done = found.deployment.command("serve", "--host", "0.0.0.0", check=False)
    assert done.returncode == 1
    assert "expected a loopback address, or auth: tokens" in " ".join(done.stderr.split())
    assert "headrace token create" in " ".join(done.stderr.split())
