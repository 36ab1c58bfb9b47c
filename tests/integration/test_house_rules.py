"""The house rules that no linter knows, read off the syntax trees of the program."""

import ast
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from service.metrics.learner import PrometheusTelemetry
from service.metrics.server import PrometheusServerTelemetry

ROOT = Path(__file__).parents[2]

EXCUSED: Mapping[str, Mapping[str, str]] = {
    "silent_catch_alls": {
        "service/learning/engine/fast_path.py:_has_probabilities": "a failure on an empty event is the answer that was looked for",
        "service/learning/engine/stepper.py:learn_many": "the events are tried one by one, and the culprit is reported",
        "service/learning/engine/stepper.py:_is_valid": "a state that throws is not valid; the caller restores and reports it",
    },
    "long_files": {
        "service/learning/learner/learner.py": "the path of a run through one lineage is read in one piece",
        "service/operations/learning_loop/session.py": "as the learner, with its commits",
    },
    "long_functions": {
        "service/storage/training/job_runs.py:_insert_candidate": "one version, a column a line",
        "service/storage/models/changes.py:snapshot": "one statement in the main, a column a line",
        "service/storage/models/models.py:_register": "three statements, a column a line, in the order of their keys",
    },
}
BOUNDED_LABELS: Mapping[str, str] = {
    "model": "the configuration's models",
    "role": "champion and baseline",
    "window": "cumulative and window",
    "metric": "the model's metrics",
    "monitor": "the model's monitors",
    "outcome": "learned, predicted, duplicate and dead; what became of a request's records",
    "kind": "events, labels and predictions",
    "reason": "the enumeration of reasons",
    "service": "those of UNREACHABLE",
    "status": "the ends of a training job; the statuses of HTTP",
    "route": "the server's own addresses",
    "topic": "one a model",
    "partition": "the topic's partitions",
}
UNREACHABLE = {"stream", "database", "start", "archive"}
NO_CONCEPTS = {"utils", "util", "common", "helpers", "helper", "misc"}
EFFECTS = {"open", "connect", "create_engine", "start", "run", "mkdir", "unlink", "write_text", "read_text", "write"}
CLOCKS = re.compile(r"\btime\.(time|monotonic|perf_counter|process_time|localtime|gmtime)(_ns)?$|\.(utc)?now$|\.today$")
SEEDED = {"Random", "default_rng", "RandomState", "Generator", "SeedSequence"}

Function = ast.FunctionDef | ast.AsyncFunctionDef
Finding = tuple[str, str]


@dataclass(frozen=True)
class Source:
    """A module by its path in the repository."""

    name: str
    text: str

    @property
    def tree(self) -> ast.Module:
        """Its syntax tree."""
        return ast.parse(self.text)

    def of(self, *packages: str) -> bool:
        """Whether it belongs to one of these packages."""
        return self.name.startswith(tuple(f"service/{package}/" for package in packages))


SOURCES = [Source(str(path.relative_to(ROOT)), path.read_text("utf-8")) for path in (ROOT / "service").rglob("*.py")]


def dotted(node: ast.AST | None) -> str:
    """`a.b.c` of an expression; empty for any other."""
    if isinstance(node, ast.Name):
        return node.id
    return f"{dotted(node.value)}.{node.attr}" if isinstance(node, ast.Attribute) else ""


def called(root: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    """Every call, by what is called."""
    return ((dotted(node.func), node) for node in ast.walk(root) if isinstance(node, ast.Call))


def functions(root: ast.AST) -> Iterator[Function]:
    """Every function."""
    return (node for node in ast.walk(root) if isinstance(node, Function))


def by_function(source: Source) -> Iterator[tuple[str, ast.AST]]:
    """Every node, with the innermost function around it as its place."""
    waiting: list[tuple[str, ast.AST]] = [(source.name, source.tree)]
    while waiting:
        place, node = waiting.pop()
        yield place, node
        inner = f"{source.name}:{node.name}" if isinstance(node, Function) else place
        waiting += [(inner, child) for child in ast.iter_child_nodes(node)]


def changing_messages(source: Source) -> Iterator[Finding]:
    """A log message is a constant key; what varies is a field."""
    for what, call in called(source.tree):
        if re.fullmatch(r"_?log(?:ger)?\.(?:debug|info|warning|error|exception|critical)", what):
            key = call.args[0] if call.args else None
            if not (isinstance(key, ast.Constant) and re.fullmatch(r"[a-z][a-z_]*", str(key.value))):
                yield source.name, f"line {call.lineno}: {what} without a constant key"


def silent_catch_alls(source: Source) -> Iterator[Finding]:
    """Whoever catches everything raises, logs, or uses what was caught."""
    for place, node in by_function(source):
        if isinstance(node, ast.ExceptHandler) and catches_all(node):
            body = [one for statement in node.body for one in ast.walk(statement)]
            uses = any(isinstance(one, ast.Raise) or (node.name and dotted(one) == node.name) for one in body)
            logs = any(what.endswith((".exception", ".error")) for part in node.body for what, _ in called(part))
            if not uses and not logs:
                yield place, f"line {node.lineno}: swallowed"


def catches_all(node: ast.ExceptHandler) -> bool:
    """Whether nothing passes it, alone or in a list."""
    kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
    return any(one is None or dotted(one) in {"Exception", "BaseException"} for one in kinds)


def inner_imports(source: Source) -> Iterator[Finding]:
    """Imports stand at the top, where the contract of the layers is read."""
    for place, node in by_function(source):
        if isinstance(node, ast.Import | ast.ImportFrom) and place != source.name:
            yield place, f"line {node.lineno}: an import in a function"


def suppressions(source: Source) -> Iterator[Finding]:
    """Types are right rather than ignored, and a rule that one line breaks has its reason beside it."""
    for number, line in enumerate(source.text.splitlines(), start=1):
        if re.search(r"#\s*type:\s*ignore", line) or re.search(r"# noqa(?!: [A-Z0-9, ]+ - \w)", line):
            yield source.name, f"line {number}: {line.strip()}"


def modules_without_a_concept(source: Source) -> Iterator[Finding]:
    """A module is called by what it holds."""
    if NO_CONCEPTS & set(Path(source.name).with_suffix("").parts):
        yield source.name, "the name of no concept"


def prints(source: Source) -> Iterator[Finding]:
    """Only the command line prints."""
    for what, call in called(source.tree):
        if what in {"print", "sys.stdout.write", "sys.stderr.write"} and not source.of("cli"):
            yield source.name, f"line {call.lineno}: {what}"


def effects_at_import(source: Source) -> Iterator[Finding]:
    """Importing a module opens, starts and writes nothing."""
    for place, node in by_function(source):
        if isinstance(node, ast.Call) and place == source.name and dotted(node.func).rsplit(".", 1)[-1] in EFFECTS:
            yield place, f"line {node.lineno}: {dotted(node.func)}"


def environment_reads(source: Source) -> Iterator[Finding]:
    """The environment is read in one module."""
    for node in ast.walk(source.tree):
        if dotted(node) in {"os.environ", "os.environb", "os.getenv"} and source.name != "service/config/__init__.py":
            yield source.name, dotted(node)


def clocks(source: Source) -> Iterator[Finding]:
    """Learning and its values read no clock."""
    for what, call in called(source.tree):
        if source.of("learning", "domain") and CLOCKS.search(what):
            yield source.name, f"line {call.lineno}: {what}"


def hidden_chance(source: Source) -> Iterator[Finding]:
    """Chance in learning comes from generators that were given their seed."""
    for what, call in called(source.tree):
        package, _, last = what.rpartition(".")
        given = last in SEEDED and (call.args or call.keywords)
        chance = last in SEEDED or package in {"random", "np.random", "numpy.random", "secrets", "uuid"}
        if source.of("learning", "domain") and chance and not given:
            yield source.name, f"line {call.lineno}: {what}"


def unbounded_queues(source: Source) -> Iterator[Finding]:
    """Every queue has a bound."""
    for what, call in called(source.tree):
        last = what.rsplit(".", 1)[-1]
        if last == "SimpleQueue" or (last.endswith("Queue") and not call.args and not call.keywords):
            yield source.name, f"line {call.lineno}: {what}"


def long_files(source: Source) -> Iterator[Finding]:
    """300 lines."""
    if (count := len(source.text.splitlines())) > 300:
        yield source.name, f"{count} lines"


def long_functions(source: Source) -> Iterator[Finding]:
    """30 lines in a body, its docstring aside."""
    for function in functions(source.tree):
        body = function.body[1 if ast.get_docstring(function) else 0 :]
        size = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
        if size > 30:
            yield f"{source.name}:{function.name}", f"{size} lines"


def wide_functions(source: Source) -> Iterator[Finding]:
    """Six arguments; an option of the command line is an argument of its command."""
    for function in functions(source.tree):
        found = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
        count = len([one for one in found if one.arg not in {"self", "cls"}])
        if count > 6 and not source.of("cli"):
            yield f"{source.name}:{function.name}", f"{count} arguments"


def unlisted_services(source: Source) -> Iterator[Finding]:
    """A service that could not be reached is counted under one of a few names."""
    for what, call in called(source.tree):
        partly = what == "partial" and call.args and dotted(call.args[0]).endswith("telemetry.failure")
        if partly or what.endswith("telemetry.failure"):
            given = call.args[1 if partly else 0]
            if not (isinstance(given, ast.Constant) and given.value in UNREACHABLE):
                yield source.name, f"line {call.lineno}: {ast.unparse(given)}"


def ends_of_generators(source: Source) -> Iterator[Finding]:
    """A generator without an element ends in a StopIteration that says nothing, and a list in an IndexError."""
    for what, call in called(source.tree):
        if what == "next" and len(call.args) == 1 and isinstance(call.args[0], ast.GeneratorExp):
            yield source.name, f"line {call.lineno}: {ast.unparse(call)}"
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Subscript) and "newest_first(" in ast.unparse(node.value):
            yield source.name, f"line {node.lineno}: {ast.unparse(node)}, expected `newest_checkpoint`"


BROKEN: list[tuple[Callable[[Source], Iterator[Finding]], str, str]] = [
    (changing_messages, "service/a.py", "_log.info(f'learned {n}')"),
    (changing_messages, "service/a.py", "_log.warning('Something went wrong')"),
    (silent_catch_alls, "service/a.py", "try:\n    f()\nexcept Exception:\n    pass"),
    (silent_catch_alls, "service/a.py", "def f():\n    try:\n        g()\n    except:\n        return None"),
    (silent_catch_alls, "service/a.py", "try:\n    f()\nexcept (OSError, Exception):\n    pass"),
    (inner_imports, "service/a.py", "def f():\n    import os"),
    (suppressions, "service/a.py", "x = 1  # type: " + "ignore[misc]"),
    (suppressions, "service/a.py", "x = 1  # noqa: S101"),
    (modules_without_a_concept, "service/cli/common.py", ""),
    (prints, "service/stream/a.py", "print(1)"),
    (effects_at_import, "service/a.py", "FILE = open('x')"),
    (effects_at_import, "service/a.py", "class A:\n    db = sqlite3.connect('x')"),
    (environment_reads, "service/a.py", "def f():\n    return os.environ['X']"),
    (clocks, "service/learning/a.py", "def f():\n    return time.time()"),
    (clocks, "service/domain/a.py", "def f():\n    return datetime.now(UTC)"),
    (hidden_chance, "service/learning/a.py", "x = random.random()"),
    (hidden_chance, "service/learning/a.py", "x = np.random.default_rng()"),
    (unbounded_queues, "service/a.py", "q = queue.Queue()"),
    (ends_of_generators, "service/a.py", "x = next(one for one in many if one.fits)"),
    (ends_of_generators, "service/a.py", "x = checkpoints.newest_first(lineage)[0]"),
    (long_files, "service/a.py", "x = 1\n" * 301),
    (long_functions, "service/a.py", "def f():\n" + "    x = 1\n" * 31),
    (wide_functions, "service/a.py", "def f(a, b, c, *, d, e, f, g): ..."),
    (unlisted_services, "service/a.py", "telemetry.failure(str(error))"),
]
RULES = list(dict.fromkeys(rule for rule, _, _ in BROKEN))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_program_keeps_the_rule(rule: Callable[[Source], Iterator[Finding]]) -> None:
    """No module breaks the rule but for a listed reason, and no reason is listed that nothing needs."""
    findings = (finding for source in SOURCES for finding in rule(source))
    require_none_but(EXCUSED.get(rule.__name__, {}), findings)


def require_none_but(excused: Mapping[str, str], findings: Iterable[Finding]) -> None:
    """Fail on a finding that is not excused, and on an excuse without a finding."""
    found: dict[str, list[str]] = {}
    for place, problem in findings:
        found.setdefault(place, []).append(problem)
    assert {place: problems for place, problems in found.items() if place not in excused} == {}
    assert set(excused) <= set(found)


@pytest.mark.parametrize(("rule", "name", "text"), BROKEN)
def test_the_rule_notices_who_breaks_it(rule: Callable[[Source], Iterator[Finding]], name: str, text: str) -> None:
    """Each rule finds what it is there to find."""
    assert list(rule(Source(name, text)))


def test_every_label_has_few_values() -> None:
    """Every label of a Prometheus metric is one whose values are known to be bounded."""
    all_of_them = (PrometheusTelemetry(CollectorRegistry()), PrometheusServerTelemetry(CollectorRegistry()))
    metrics = [one for part in all_of_them for one in vars(part).values() if hasattr(one, "_labelnames")]
    assert {label for one in metrics for label in one._labelnames} == set(BOUNDED_LABELS)
