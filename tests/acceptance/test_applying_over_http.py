"""What has changed in the server's configuration file is adopted over HTTP as `headrace model apply` adopts it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.admin_api import Api, open_api
from tests.acceptance.harness import phishing_events, terminate, wait_until


@pytest.fixture
def api(tmp_path: Path) -> Api:
    """A server whose models nobody learns."""
    return open_api(tmp_path)


def changed(api: Api, **keys: Any) -> None:
    """The file has other keys of the model from now on; the server runs."""
    api.deployment.model.update(keys)
    api.deployment.configure()


def audited(api: Api) -> list[Mapping[str, Any]]:
    """Every change of the model, oldest first."""
    found: list[Mapping[str, Any]] = api.ask("GET", "/models/phishing/audit", params={"limit": 200}).json()["items"]
    return found


def test_what_has_changed_in_the_file_is_adopted(api: Api) -> None:
    """A key that may change goes on as a version, another begins a challenger, one that cannot is refused; once a key."""
    assert api.ask("POST", "/models/phishing/apply", json={}).json()["outcome"] == "nothing has changed"
    changed(api, guard={"range_factor": 500})
    given: Mapping[str, Any] = {"json": {"reason": "stricter"}, "headers": {"Idempotency-Key": "stricter"}}
    done = api.ask("POST", "/models/phishing/apply", "operator", **given)
    assert (done.status_code, done.json()["outcome"]) == (200, "version 2 goes on with new guard")
    again = api.ask("POST", "/models/phishing/apply", "operator", **given)
    assert (again.json(), again.headers["idempotency-replayed"]) == (done.json(), "true")
    assert api.ask("GET", "/models/phishing/versions/2").json()["spec"]["guard"]["range_factor"] == 500
    newest = audited(api)[-1]
    assert (newest["actor"], newest["reason"]) == ("operator", "stricter")
    assert "nothing has changed" in api.deployment.command("model", "apply", "phishing").stdout
    changed(api, estimator=["preprocessing.StandardScaler", "linear_model.Perceptron"])
    done = api.ask("POST", "/models/phishing/apply", "operator", json={})
    assert done.json()["outcome"] == "version 3 challenges with new estimator"
    (challenger,) = api.ask("GET", "/models/phishing/challengers").json()["items"]
    assert challenger["version"] == 3
    changed(api, labels="phishing.labels")
    refused = api.ask("POST", "/models/phishing/apply", "operator", json={})
    told = api.deployment.command("model", "apply", "phishing", check=False)
    assert (refused.status_code, told.returncode) == (409, 3)
    assert refused.json()["detail"] in " ".join(told.stderr.split())


def test_a_file_at_fault_is_told_to_the_log_alone(api: Api) -> None:
    """Neither its content nor its place comes back; where the model is gone from it, that is said."""
    file = api.deployment.folder / "headrace.yaml"
    good = file.read_text(encoding="utf-8")
    for broken in (f"secret: [hunter2\n{good}", f"{good}\nhunter2: 1\n", ""):
        file.write_text(broken, encoding="utf-8")
        found = api.ask("POST", "/models/phishing/apply", "operator", json={})
        assert found.status_code == (422 if broken else 404), found.text
        assert "hunter2" not in found.text
        assert str(file) not in found.text
    assert "hunter2" in api.served.log
    file.unlink()
    found = api.ask("POST", "/models/phishing/apply", "operator", json={})
    assert (found.status_code, str(file) in found.text) == (422, False)
    file.write_text(good, encoding="utf-8")
    assert api.ask("POST", "/models/phishing/apply", "operator", json={}).status_code == 200


def test_the_learner_adopts_it(api: Api) -> None:
    """Where a learner writes the model it goes on with the new specification, without a start."""
    learner = api.deployment.start("learn", "phishing")
    wait_until(lambda: (api.ask("GET", "/models/phishing").json()["writer"] or {"epoch": 0})["epoch"] >= 2)
    changed(api, drift=[{"name": "errors", "on": "error", "detector": "drift.ADWIN"}])
    done = api.ask("POST", "/models/phishing/apply", "operator", params={"wait": 30}, json={})
    assert (done.status_code, done.json()["outcome"]) == (200, "version 2 goes on with new drift")
    api.deployment.publish(phishing_events(100, first=1000))
    wait_until(lambda: [one["name"] for one in api.ask("GET", "/models/phishing").json()["drift"]] == ["errors"])
    assert terminate(learner) == 0
