"""The documentation is true of the program: examples, commands, keys, metrics, links and promises."""

import ast
import json
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer
import yaml
from prometheus_client import CollectorRegistry
from pydantic import BaseModel

from service import config
from service.cli.app import app
from service.cli.commands.setup import EXAMPLE_CONFIGURATION
from service.domain.specification.model import ModelSpec
from service.domain.stream.events import RefusalReason
from service.learning import catalogue
from service.metrics.learner import PrometheusTelemetry
from service.metrics.server import PrometheusServerTelemetry

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "examples/README.md")] + sorted(
    DOCS.rglob("*.md")
)
SCHEMA = DOCS / "headrace.schema.json"

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE_COMMAND = re.compile(r"`(headrace [^`]+)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
NODE = re.compile(r"(tests/[\w/]+\.py)::(\w+)")
FIGURE = re.compile(
    r"\d[\d.,]*\s*(?:times as|times the|times fast|x as|x fast|percent (?:fast|slow)|% (?:fast|slow))"
    r"|\d[\d.,]*\s*(?:events|records|rows|MB|GB)\s*(?:/s\b|(?:a|per) second)"
    r"|\d[\d.,]*\s*(?:µs|us|ms|seconds) (?:a|an|per|to|for) ",
    re.IGNORECASE,
)


def named(page: Path) -> str:
    """A page as a test's id."""
    return str(page.relative_to(ROOT))


def fences(page: Path, language: str) -> list[str]:
    """The page's code blocks in a language."""
    found = FENCE.findall(page.read_text(encoding="utf-8"))
    return [text for kind, text in found if kind == language]


def prose(page: Path) -> str:
    """The page without its code blocks."""
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def section(page: str, heading: str) -> str:
    """What stands beneath a heading, up to the next one."""
    found = re.search(rf"^#+ {re.escape(heading)}$\n(.*?)(?=^#|\Z)", page, re.MULTILINE | re.DOTALL)
    assert found, f"found no heading {heading!r}"
    return found[1]


def examples() -> Iterator[Any]:
    """Every YAML block of every page."""
    for page in PAGES:
        for number, text in enumerate(fences(page, "yaml")):
            yield pytest.param(text, id=f"{named(page)}-{number}")


def whole(text: str) -> str:
    """A configuration file: the block itself, or a model around it where it shows keys of a model."""
    data = yaml.safe_load(text)
    if set(data) <= set(config.Settings.model_fields):
        return text
    assert set(data) - {True} <= set(ModelSpec.model_fields), f"found keys {sorted(data)} of neither file nor model"
    around = {"name": "shown", "task": "binary", "events": "shown", "estimator": "linear_model.LogisticRegression"}
    lines = [f"    {key}: {value}" for key, value in around.items() if key not in data]
    lines += [f"    {line}" for line in text.splitlines()]
    return "models:\n  -\n" + "\n".join(lines) + "\n"


def test_the_published_schema_is_current() -> None:
    """The schema in the repository is the one that the settings generate, and it is a valid schema."""
    published = json.loads(SCHEMA.read_text(encoding="utf-8"))
    assert published == json.loads(json.dumps(config.json_schema()))
    jsonschema.Draft202012Validator.check_schema(published)


@pytest.mark.parametrize("text", examples())
def test_yaml_examples_are_good(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every YAML example loads, and fits the published schema."""
    monkeypatch.delenv("HEADRACE_CONFIG", raising=False)
    path = tmp_path / "headrace.yaml"
    path.write_text(whole(text), encoding="utf-8")
    config.load_settings(path)
    data = yaml.load(whole(text), Loader=config._Loader)
    jsonschema.validate(data, json.loads(SCHEMA.read_text(encoding="utf-8")))


def test_the_schema_refuses_what_the_settings_refuse() -> None:
    """A key that nobody knows and a duration without sense do not fit the schema."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    for wrong in ({"modles": []}, {"lease": {"ttl": "10 parsecs"}}, {"lease": {"ttl": 0}}, {"failpoint": "committed"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)


def test_the_readme_shows_what_init_writes() -> None:
    """The ten lines of the README are the file that `headrace init` writes."""
    assert EXAMPLE_CONFIGURATION in fences(ROOT / "README.md", "yaml")


@cache
def commands() -> dict[str, Any]:
    """Every command of the program by its words."""

    def walk(command: Any, words: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
        inner = getattr(command, "commands", None)
        if inner is None:
            yield " ".join(words), command
        for name, one in (inner or {}).items():
            yield from walk(one, (*words, name))

    return dict(walk(typer.main.get_command(app), ("headrace",)))


def options(command: Any) -> dict[str, bool]:
    """A command's options, and whether each takes a value."""
    found = [one for one in command.params if one.param_type_name == "option"]
    return {name: not one.is_flag for one in found for name in (*one.opts, *one.secondary_opts)}


def shown_commands() -> Iterator[Any]:
    """Every command line that a page shows, in a block or in a sentence."""
    for page in PAGES:
        lines = [line for text in fences(page, "sh") for line in text.splitlines() if "headrace" in line.split("#")[0]]
        for line in [*lines, *INLINE_COMMAND.findall(prose(page))]:
            words = shlex.split(line.replace("\\|", "|"), comments=True)
            if "headrace" in words:
                yield pytest.param(words[words.index("headrace") :], id=f"{named(page)}-{line[:50]}")


@pytest.mark.parametrize("words", shown_commands())
def test_shown_commands_exist(words: list[str]) -> None:
    """Every command that a page shows exists, with these options and no more arguments than it takes."""
    name = next((" ".join(words[:n]) for n in (3, 2) if " ".join(words[:n]) in commands()), None)
    if name is None and all(word.startswith("--") for word in words[1:]) and words[1:]:
        assert set(words[1:]) <= set(options(typer.main.get_command(app))), f"found no {words}"
        return
    if name is None:
        assert any(one.startswith(" ".join(words).removesuffix(" ...")) for one in commands()), f"found no {words}"
        return
    command, known = commands()[name], options(commands()[name])
    rest, arguments = iter(words[len(name.split()) :]), 0
    for word in rest:
        if word.startswith("-") and word != "-":
            assert word in known, f"found no option {word} of {name}"
            if known[word]:
                next(rest)
        else:
            arguments += 1
    taken = [one.nargs for one in command.params if one.param_type_name == "argument"]
    assert -1 in taken or arguments <= len(taken), f"found {arguments} arguments of {name}, which takes {len(taken)}"


def test_every_command_and_option_is_described() -> None:
    """Each command has a section in cli.md that names its options, and no section is of a command that is gone."""
    text = (DOCS / "cli.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^### `(.+)`$", text, re.MULTILINE)) == set(commands())
    for name, command in commands().items():
        described = section(text, f"`{name}`")
        for one in command.params:
            if one.param_type_name == "option" and one.opts[0] != "--config":
                assert f"`{one.opts[0]}" in described, f"{name} {one.opts[0]} is not described"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_resolve(page: Path) -> None:
    """Every relative link leads to a file, and every anchor to a heading in it."""
    for link in LINK.findall(prose(page)):
        if "://" in link:
            continue
        target, _, anchor = link.partition("#")
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), f"{link} leads nowhere"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", prose(path), re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in slugs, f"{link}: no such heading"


def test_every_page_can_be_found() -> None:
    """Each page of docs/ is linked from the README or from the list of decisions."""
    linked = {
        (page.parent / link.partition("#")[0]).resolve()
        for page in (ROOT / "README.md", DOCS / "adr" / "README.md")
        for link in LINK.findall(prose(page))
    }
    assert [named(page) for page in DOCS.rglob("*.md") if page not in linked] == []


def test_promises_name_tests_that_exist() -> None:
    """Each promise names a test that is there, or says that none is."""
    rows = [line for line in (DOCS / "promises.md").read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    promises = [row for row in rows if not row.startswith(("| promise", "|---"))]
    assert len(promises) >= 9
    for row in promises:
        nodes = NODE.findall(row)
        assert nodes or "no test yet" in row, f"without a test: {row}"
        for file, test in nodes:
            assert test in functions_in(ROOT / file), f"found no {file}::{test}"


@cache
def functions_in(path: Path) -> set[str]:
    """The names of the test functions in a file, those inside of classes too."""
    assert path.exists(), f"found no {path.relative_to(ROOT)}"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name.startswith("test")}


def settings_keys(kind: type[BaseModel] = config.Settings, prefix: str = "") -> Iterator[str]:
    """Every key that a file may have, as the configuration page writes it."""
    for name, field in kind.model_fields.items():
        if field.exclude:
            continue
        inner = next(config._models_in(field.annotation), None)
        key = f"{prefix}{name}" + ("[]" if inner and "tuple" in str(field.annotation) else "")
        if inner is None or not (
            key in {"storage", "stream", "learner", "archive", "trainer", "lease", "log"} or key.startswith("stream.")
        ):
            yield key.removesuffix("[]")
        if inner is not None:
            yield from settings_keys(inner, f"{key}.")


def test_every_key_is_described() -> None:
    """Each key of the settings stands in configuration.md, and no key that is gone does."""
    described = set(re.findall(r"^\| `([\w.\[\]]+)` \|", (DOCS / "configuration.md").read_text("utf-8"), re.MULTILINE))
    keys = set(settings_keys())
    sections = {key for key in keys if any(other.startswith((f"{key}.", f"{key}[]")) for other in keys)}
    assert keys - sections <= described, f"not described: {sorted(keys - sections - described)}"
    assert described <= keys, f"described and not there: {sorted(described - keys)}"


def test_every_metric_is_described() -> None:
    """Each Prometheus metric stands in operations.md, with its labels, and none that is gone does."""
    registry = CollectorRegistry()
    telemetry = PrometheusTelemetry(registry)
    parts = [*vars(telemetry).values(), *vars(PrometheusServerTelemetry(CollectorRegistry())).values()]
    declared = [one for one in parts if hasattr(one, "_labelnames")]
    text = section((DOCS / "operations.md").read_text(encoding="utf-8"), "Metrics")
    described = dict(re.findall(r"^\| `(headrace_\w+)` \| ([\w, ]+) \|", text, re.MULTILINE))
    delay = next(iter(telemetry.label_delay.collect()))
    names = {delay.name: "model"}
    names |= {one._name + ("_total" if one._type == "counter" else ""): ", ".join(one._labelnames) for one in declared}
    assert described == names


def test_every_reason_is_described() -> None:
    """Each reason for a refusal stands in guard.md, and none that is gone does."""
    text = section((DOCS / "guard.md").read_text(encoding="utf-8"), "Reasons")
    assert re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE) == [reason.value for reason in RefusalReason]


def test_everything_unsupported_is_described() -> None:
    """Each estimator that is refused stands in estimators.md with the reason the program gives."""
    text = section((DOCS / "estimators.md").read_text(encoding="utf-8"), "Not supported")
    assert dict(re.findall(r"^\| `([\w.]+)` \| (.+) \|$", text, re.MULTILINE)) == dict(catalogue.UNSUPPORTED)


def test_every_scikit_learn_estimator_is_described() -> None:
    """Each scikit-learn estimator that a specification may name stands in estimators.md, and no other."""
    lists = section((DOCS / "estimators.md").read_text(encoding="utf-8"), "scikit-learn").split("```")[0]
    assert set(re.findall(r"`(sklearn\.[\w.]+)`", lists)) == {f"sklearn.{name}" for name in catalogue.SKLEARN_CLASSES}


def test_decisions_say_all_that_they_must() -> None:
    """Each decision has its context, what was decided, what was rejected and what follows."""
    for page in DOCS.glob("adr/[0-9]*.md"):
        headings = re.findall(r"^## (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
        assert headings == ["Context", "Decision", "Rejected", "Consequences"], named(page)


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "benchmarks.md"], ids=named)
def test_no_figure_without_its_benchmark(page: Path) -> None:
    """A page states no speed unless it names the benchmark that measures it."""
    for line in prose(page).splitlines():
        assert not FIGURE.search(line) or "benchmarks/" in line, line
