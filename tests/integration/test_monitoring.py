"""The alerts and the dashboard are true of the program, and work in a real Prometheus."""

import json
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml
from prometheus_client import CollectorRegistry, ProcessCollector
from river import metrics as river_metrics

from service.config.sections import ArchiveSettings, LearnerSettings, ServerSettings, TrainerSettings
from service.domain.registry.registry import CommandKind
from service.metrics.learner import PrometheusTelemetry
from service.metrics.server import PrometheusServerTelemetry
from tests.acceptance.harness import PHISHING, Deployment, metric, phishing_events, terminate, wait_until
from tests.acceptance.serving import RunningServer, start_server
from tests.services.presence import need
from tests.services.process import free_port

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
RULES = DEPLOY / "prometheus" / "rules.yml"
DASHBOARD = DEPLOY / "grafana" / "dashboards" / "headrace.json"
GIVEN_BY_PROMETHEUS = {"job", "instance", "le", "__name__"}
ONLY_AFTER_AN_OUTAGE = {"headrace_retries_total", "headrace_unreadable_states_total"}


def rules() -> list[dict[str, Any]]:
    """The alerts."""
    found: list[dict[str, Any]] = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"][0]["rules"]
    return found


def panels() -> list[dict[str, Any]]:
    """The dashboard's panels."""
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    return found


def expressions() -> dict[str, str]:
    """Every query of the alerts and of the dashboard, by where it stands."""
    found = {f"alert {rule['alert']}": rule["expr"] for rule in rules()}
    for panel in panels():
        for target in panel["targets"]:
            expr = target["expr"].replace("$__rate_interval", "1m").replace("$model", ".*")
            found[f"panel {panel['title']} {target['refId']}"] = expr
    return found


def exported() -> dict[str, set[str]]:
    """Every sample that a role exports, with its labels."""
    registry = CollectorRegistry()
    telemetry = PrometheusTelemetry(registry)
    found: dict[str, set[str]] = {"up": set()}
    for one in [*vars(telemetry).values(), *vars(PrometheusServerTelemetry(CollectorRegistry())).values()]:
        if hasattr(one, "_labelnames"):
            endings = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(one._type, [""])
            found |= {one._name + ending: set(one._labelnames) for ending in endings}
    delay = next(iter(telemetry.label_delay.collect())).name
    found |= {f"{delay}_{ending}": {"model"} for ending in ("bucket", "sum", "count")}
    process = CollectorRegistry()
    ProcessCollector(registry=process)
    return found | {sample.name: set() for family in process.collect() for sample in family.samples}


def named_metrics(expr: str) -> set[str]:
    """The metrics that a query names."""
    return set(re.findall(r"\b(?:headrace_|process_)\w+|\bup\b", re.sub(r'"[^"]*"', '""', expr)))


def named_labels(expr: str) -> set[str]:
    """The labels by which a query chooses, groups and joins."""
    bare = re.sub(r'"[^"]*"', '""', expr)
    chosen = re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"\"", bare)
    grouped = re.findall(r"\b(?:by|on|without|ignoring)\s*\(([^)]*)\)", bare)
    return set(chosen) | {name.strip() for names in grouped for name in names.split(",")}


def promtool(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    """Prometheus's own checker."""
    found = shutil.which("promtool")
    need(None if found else "promtool is not installed; it comes with the package prometheus")
    return subprocess.run([found or "", *map(str, arguments)], capture_output=True, text=True, check=False)


def test_prometheus_accepts_its_configuration() -> None:
    """The configuration, and the rules that it names, are good."""
    done = promtool("check", "config", DEPLOY / "prometheus" / "prometheus.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(rules())} rules found" in promtool("check", "rules", RULES).stdout


def test_alerts_fire_when_they_must_and_not_otherwise() -> None:
    """Every alert's own test holds."""
    done = promtool("test", "rules", DEPLOY / "prometheus" / "rules.test.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested_both_ways() -> None:
    """Each alert has a case in which it fires and one in which it is silent."""
    cases = yaml.safe_load((DEPLOY / "prometheus" / "rules.test.yml").read_text(encoding="utf-8"))["tests"]
    checks = [check for case in cases for check in case["alert_rule_test"]]
    names = {rule["alert"] for rule in rules()}
    assert {check["alertname"] for check in checks if check.get("exp_alerts")} == names
    assert {check["alertname"] for check in checks if not check.get("exp_alerts")} == names


def test_a_wrong_rule_is_noticed(tmp_path: Path) -> None:
    """The tests of the alerts fail when a threshold is moved."""
    folder = tmp_path / "prometheus"
    shutil.copytree(DEPLOY / "prometheus", folder)
    text = (folder / "rules.yml").read_text(encoding="utf-8")
    assert "> 0.05" in text
    (folder / "rules.yml").write_text(text.replace("> 0.05", "> 0.5"), encoding="utf-8")
    done = promtool("test", "rules", folder / "rules.test.yml")
    assert done.returncode == 1
    assert "HeadraceRefusedShare" in done.stdout + done.stderr


def test_every_query_parses(tmp_path: Path) -> None:
    """Prometheus understands every query of the dashboard."""
    found = [{"record": f"query:{at}", "expr": expr} for at, expr in enumerate(expressions().values())]
    path = tmp_path / "queries.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": found}]}), encoding="utf-8")
    done = promtool("check", "rules", path)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("where", expressions())
def test_queries_name_what_the_program_exports(where: str) -> None:
    """A query names only metrics that a role has, and only labels that these have."""
    expr = expressions()[where]
    names = named_metrics(expr)
    assert names
    assert names <= exported().keys()
    assert named_labels(expr) <= set().union(GIVEN_BY_PROMETHEUS, *(exported()[name] for name in names))


def test_legends_and_messages_name_labels_that_are_left() -> None:
    """What a legend or an alert's text shows is a label by which its query still groups."""
    shown = [(t["expr"], t["legendFormat"], r"{{(\w+)}}") for panel in panels() for t in panel["targets"]]
    shown += [(r["expr"], str(r["annotations"]), r"\$labels\.(\w+)") for r in rules()]
    for expr, text, pattern in shown:
        kept = set().union(*(exported()[name] for name in named_metrics(expr)), {"instance"})
        grouped = re.findall(r"\bby \(([^)]*)\)", expr)
        if grouped:
            kept = {name.strip() for name in grouped[0].split(",")}
        assert set(re.findall(pattern, text)) <= kept, text


def test_every_metric_is_shown() -> None:
    """The dashboard or an alert has each metric that the program exports, so that none is exported for nothing."""
    shown = {name for expr in expressions().values() for name in named_metrics(expr)}
    bases = {re.sub(r"_(?:bucket|sum|count)$", "", name) for name in shown}
    ours = {re.sub(r"_(?:bucket|sum|count)$", "", name) for name in exported() if name.startswith("headrace_")}
    assert ours <= bases


def test_the_dashboard_finds_its_data_source() -> None:
    """Every panel and variable asks the data source that is provisioned, and each has a place of its own."""
    source = yaml.safe_load((DEPLOY / "grafana/provisioning/datasources/prometheus.yml").read_text(encoding="utf-8"))
    board = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    uids = {one["datasource"]["uid"] for one in [*board["panels"], *board["templating"]["list"]]}
    assert uids == {source["datasources"][0]["uid"]}
    places = [panel["gridPos"] for panel in panels()]
    cells = [
        (x, y) for at in places for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(cells) == len(set(cells))
    assert len({panel["id"] for panel in panels()}) == len(panels())


def test_the_alert_knows_in_which_direction_each_metric_is_better() -> None:
    """River's metrics of which less is better, and no others, are in the half of the rule that expects less."""
    expr = next(rule["expr"] for rule in rules() if rule["alert"] == "HeadraceWorseThanBaseline")
    less = re.search(r'metric=~"([^"]+)"', expr)
    assert less
    assert f'metric!~"{less[1]}"' in expr
    kinds = (river_metrics.base.ClassificationMetric, river_metrics.base.RegressionMetric)
    known = [one for one in vars(river_metrics).values() if isinstance(one, type) and issubclass(one, kinds)]
    known.remove(river_metrics.ConfusionMatrix)
    better = {one.__name__: one.__new__(one).bigger_is_better for one in known}
    assert len(better) > 20
    assert set(less[1].split("|")) == {name for name, bigger in better.items() if not bigger}


@contextmanager
def prometheus(folder: Path, ports: Mapping[int, int]) -> Iterator[int]:
    """A real Prometheus with the configuration of deploy/, but for the ports where they answer and the pace."""
    program = shutil.which("prometheus")
    need(None if program else "prometheus is not installed")
    shutil.copytree(DEPLOY / "prometheus", folder)
    configuration = folder / "prometheus.yml"
    text = configuration.read_text(encoding="utf-8").replace("10s", "1s")
    for usual, port in ports.items():
        text = text.replace(f":{usual}", f":{port}")
    configuration.write_text(text, encoding="utf-8")
    listen = free_port()
    command = [program or "", f"--config.file={configuration}", f"--storage.tsdb.path={folder / 'data'}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{listen}"], stdout=log, stderr=log)
    try:
        yield listen
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=120)


def asked(port: int, path: str) -> Any:
    """What Prometheus answers; None while it does not."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", f"/api/v1/{path}")
        return json.loads(connection.getresponse().read())["data"]
    except (OSError, json.JSONDecodeError):
        return None
    finally:
        connection.close()


def series(port: int, expr: str) -> list[Any]:
    """What a query finds."""
    found = asked(port, f"query?query={quote(expr)}")
    return found["result"] if found else []


@contextmanager
def busy(folder: Path) -> Iterator[dict[int, int]]:
    """A learner that has learned, refused an event and rolled back, and the other roles; their ports by the usual ones."""
    named = {"labels": PHISHING["events"], "drift": [{"name": "errors", "detector": "drift.ADWIN"}]}
    deployment = Deployment(folder, model={**PHISHING, **named}, archive={"every": "100ms"})
    asked = [b'{"id": "asked-%d", "x": {"age_of_domain": 1}}' % number for number in range(20)]
    answers = [b'{"id": "asked-%d", "y": true}' % number for number in range(10)]
    deployment.publish([*phishing_events(3000), *asked, *answers, b"not json"])
    processes = [deployment.start("learn"), deployment.start("archive"), deployment.start("train")]
    answering = {
        usual: re.compile(rf"{role}_started +pid=[0-9]+ +port=([0-9]+)")
        for usual, role in {ArchiveSettings().port: "archiver", TrainerSettings().port: "trainer"}.items()
    }
    try:
        wait_until(lambda: deployment.learned() >= 3000)
        with deployment.app() as app:
            app.run_command("phishing", CommandKind.SNAPSHOT, {"reason": "test"}, actor="test")
            app.run_command("phishing", CommandKind.ROLLBACK, {"to": 1, "reason": "test"}, actor="test")
        deployment.command("job", "start", "phishing", "--wait")
        wait_until(lambda: all(one.search(deployment.log()) for one in answering.values()))
        others = {usual: int(one.findall(deployment.log())[0]) for usual, one in answering.items()}
        server = start_server(deployment)
        processes.append(server.process)
        ask_everything(server)
        yield {LearnerSettings().port: deployment.port(), ServerSettings().port: server.port, **others}
    finally:
        for process in processes:
            terminate(process)


def ask_everything(server: RunningServer) -> None:
    """Predictions, and an event that is in a state that answers before this returns."""
    assert server.predict({"age_of_domain": 1}).status == 200
    event = json.dumps({"id": "posted", "x": {"age_of_domain": 1}, "y": True})
    assert server.ask("/models/phishing/events", event, Content_Type="application/json").status == 202
    wait_until(lambda: metric(server.port, "headrace_freshness_seconds_count", model="phishing"))


def require_shown(at: int, where: str, expr: str) -> None:
    """In time: a scrape may have been too slow."""
    with suppress(AssertionError):
        wait_until(lambda: series(at, expr), timeout_s=60)
    assert series(at, expr), f"{where} shows nothing"


@pytest.mark.slow
def test_every_panel_shows_the_real_program(tmp_path: Path) -> None:
    """A real Prometheus, scraping a real learner, archiver, trainer and server, answers every query of the dashboard with data."""
    panels_only = {where: expr for where, expr in expressions().items() if where.startswith("panel")}
    with busy(tmp_path / "headrace") as ports, prometheus(tmp_path / "prometheus", ports) as at:
        wait_until(lambda: len(series(at, "count_over_time(up[1m]) > 3")) == len(ports))
        wait_until(lambda: len(series(at, "up == 1")) == len(ports))
        for where, expr in panels_only.items():
            if not named_metrics(expr) & ONLY_AFTER_AN_OUTAGE:
                require_shown(at, where, expr)
        alerts = [rule for group in asked(at, "rules")["groups"] for rule in group["rules"]]
    assert {rule["name"] for rule in alerts} == {rule["alert"] for rule in rules()}
    assert {rule["health"] for rule in alerts} == {"ok"}
    assert [rule["name"] for rule in alerts if rule["state"] == "firing"] == []
