"""Names and folders: the field's words, one meaning a public name, folders that are read as a list."""

import ast
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from tests.integration.test_house_rules import (
    ROOT,
    SOURCES,
    Finding,
    Function,
    Source,
    called,
    dotted,
    require_none_but,
)

# The words that the program used to have for what the field has names for, and what to say.
RETIRED: Mapping[str, str] = {
    "footing": "base state",
    "voices": "own lineages",
    "crown": "promotion, to promote",
    "crowned": "promoted",
    "coronation": "promotion",
    "reign": "champion period",
    "reigns": "champion periods",
    "outset": "training baseline",
    "lesson": "catch-up",
    "lessons": "catch-up",
    "syllabus": "training plan",
    "telling": "training evidence",
    "sieve": "exclusion filter",
    "warmth": "warm start",
    "itinerary": "remaining work",
    "yardstick": "distance",
    "yardsticks": "distances",
    "gathering": "reference builder",
    "footprint": "crash marker",
    "suspicion": "poison-record detector",
    "convicted": "confirmed",
    "condemned": "known",
    "rehearsal": "bisection",
    "intake": "input buffer",
    "lookahead": "label prefetch",
    "enrol": "register",
    "enrolled": "registered",
    "outlook": "rollback plan, preview",
    "wish": "rollback request",
    "examination": "holdout evaluation",
    "contest": "model selection",
    "rhythm": "checkpoint schedule",
    "crew": "job runner, trial executor",
    "desk": "query runner",
    "inquiry": "query",
    "inquiries": "queries",
    "heap": "memory",
    "seams": "internals",
    "strangers": "unseen features",
    "spoilt": "corrupted",
    "witnesses": "probe events",
    "waiter": "pending event",
    "waiters": "pending events",
    "settled": "recent labels; decided",
    "standing": "status",
    "stretch": "excluded range; interval",
    "hole": "excluded offsets",
    "aside": "in the background; discarded",
    "told": "prediction, value",
    "asked": "request",
    "said": "response, text",
    "answered": "result, handled",
    "thin": "apply retention",
    "tidy": "clean up",
}
# Names on the wire and on disk stay, and so does what they are called in the program that reads and writes them.
KEPT_NAMES: Mapping[str, str] = {
    "inquiry_timeout": "a key of the configuration",
    "inquiry_memory": "a key of the configuration",
    "answered_signal": "after the code `answered` of a retraining decision",
    "asked": "a key of a stored report",
    "stretch": "a key of an exclusion, in requests and in JSON",
    "RestoreOutlook": "a schema's name in OpenAPI",
    "ReplayOutlook": "a schema's name in OpenAPI",
    "_HEAP_TYPE": "the name of a flag in CPython's type objects",
}
KEPT_PHRASE = "set_aside"  # tables and their columns: `set_aside_checkpoints` and its siblings
# In a sentence only those that mean nothing else there.
RETIRED_IN_PROSE = set(RETIRED) - {
    *(
        "contest",
        "wish",
        "standing",
        "aside",
        "told",
        "asked",
        "said",
        "answered",
        "thin",
        "tidy",
        "settled",
        "heap",
        "stretch",
    ),
    *(
        "hole",
        "telling",
        "lesson",
        "lessons",
        "voices",
        "desk",
        "gathering",
        "outlook",
        "examination",
        "rhythm",
        "footprint",
    ),
}
MOST_FILES = 14
LEAST_DOCSTRING_LINES = 3
DEFINED_TWICE: Mapping[str, str] = {
    "RollbackRequest": "the body of a route has the name of what it asks for, and OpenAPI shows that name",
    "archive": "a command, and the role that it starts",
    "demo": "a command, and the demonstration that it starts",
    "learn": "a command, and the role that it starts",
    "replay": "three commands: `headrace replay`, `headrace model replay` and `headrace deadletter replay`",
    "serve": "a command, and the role that it starts",
    "train": "a command, and the role that it starts",
}

PAGES = [
    Source(str(path.relative_to(ROOT)), path.read_text("utf-8"))
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").glob("*.md")]
]


def words(name: str) -> set[str]:
    """The words of an identifier or a file name, split at underscores and capitals."""
    return {one.lower() for one in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}


def given_names(root: ast.AST) -> Iterator[tuple[str, int]]:
    """Every name that is given here to a module, class, function, argument, variable, field or log line, and its line."""
    for node in ast.walk(root):
        if isinstance(node, Function | ast.ClassDef):
            yield node.name, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.alias) and node.asname:
            yield node.asname, node.lineno
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield dotted(node).rpartition(".")[2], node.lineno
    for what, call in called(root):
        if re.fullmatch(r"_?log(?:ger)?\.\w+", what) and call.args and isinstance(call.args[0], ast.Constant):
            yield str(call.args[0].value), call.lineno


def retired_words(source: Source) -> Iterator[Finding]:
    """Names are the field's words, where the program once had words of its own."""
    for name, line in [(Path(source.name).stem, 1), *given_names(source.tree)]:
        for word in () if name in KEPT_NAMES else words(name.replace(KEPT_PHRASE, "")) & set(RETIRED):
            yield source.name, f"line {line}: {name} has {word!r}, expected {RETIRED[word]!r}"


def retired_words_in_prose(page: Source) -> Iterator[Finding]:
    """The pages have the same words; what stands in code spans and blocks is checked by others."""
    text = re.sub(r"^```.*?^```$|`[^`\n]*`|\]\([^)]*\)", _as_blank, page.text, flags=re.MULTILINE | re.DOTALL)
    for number, line in enumerate(text.splitlines(), start=1):
        for word in {one.lower() for one in re.findall(r"[A-Za-z]+", line)} & RETIRED_IN_PROSE:
            yield page.name, f"line {number}: found {word!r}, expected {RETIRED[word]!r}"


def _as_blank(found: re.Match[str]) -> str:
    return "\n" * found[0].count("\n")


def double_names(sources: Sequence[Source]) -> Iterator[Finding]:
    """A public class or function of a module has a name that no other module gives to another thing."""
    places: dict[str, list[str]] = {}
    for source in sources:
        for node in source.tree.body:
            if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(f"{source.name}:{node.lineno}")
    yield from ((name, ", ".join(found)) for name, found in places.items() if len(found) > 1)


def full_folders(sources: Sequence[Source]) -> Iterator[Finding]:
    """A folder is small enough to be read as a list."""
    folders = [str(Path(source.name).parent) for source in sources]
    for folder in sorted(set(folders)):
        if (count := folders.count(folder)) > MOST_FILES:
            yield folder, f"{count} Python files, expected at most {MOST_FILES}"


def unexplained_packages(sources: Sequence[Source]) -> Iterator[Finding]:
    """A package says what lives there, who may import it and where to begin reading."""
    for source in sources:
        if source.name.endswith("/__init__.py"):
            said = [line for line in (ast.get_docstring(source.tree) or "").splitlines() if line.strip()]
            if len(said) < LEAST_DOCSTRING_LINES:
                yield source.name, f"{len(said)} lines of docstring, expected at least {LEAST_DOCSTRING_LINES}"


BROKEN = [
    ("service/operations/sieve.py", ""),
    ("service/a.py", "class LessonPlan: ..."),
    ("service/a.py", "def f(sieve_pieces): ..."),
    ("service/a.py", "self.footing = 1"),
    ("service/a.py", "from b import c as outset"),
    ("service/a.py", "_log.info('lineage_enrolled')"),
    ("service/a.py", "WARMTH: int = 1"),
]
BROKEN_TREES: list[tuple[Callable[[Sequence[Source]], Iterator[Finding]], Sequence[Source]]] = [
    (double_names, [Source("service/a.py", "class Kind: ..."), Source("service/b/c.py", "class Kind: ...")]),
    (double_names, [Source("service/a.py", "def opened(): ..."), Source("service/b.py", "async def opened(): ...")]),
    (full_folders, [Source(f"service/a/m{number}.py", "") for number in range(MOST_FILES + 1)]),
    (unexplained_packages, [Source("service/a/__init__.py", "")]),
    (unexplained_packages, [Source("service/a/__init__.py", '"""One line.\n\nAnother line.\n"""')]),
]


def test_no_name_has_a_retired_word() -> None:
    """No file, class, function, argument, variable, field or log line of the program is called by a private word."""
    require_none_but({}, (finding for source in SOURCES for finding in retired_words(source)))


def test_no_public_name_is_defined_twice() -> None:
    """No two modules define a public class or function of one name but for a listed reason."""
    require_none_but(DEFINED_TWICE, double_names(SOURCES))


def test_no_folder_is_full() -> None:
    """No folder of the program holds more modules than one can read as a list."""
    require_none_but({}, full_folders(SOURCES))


def test_every_package_explains_itself() -> None:
    """Every package has a docstring that says what lives there, who may import it and where to begin."""
    require_none_but({}, unexplained_packages(SOURCES))


@pytest.mark.parametrize(("name", "text"), BROKEN)
def test_a_retired_word_in_a_name_is_noticed(name: str, text: str) -> None:
    """A private word is found in every kind of name."""
    assert list(retired_words(Source(name, text)))


@pytest.mark.parametrize(("rule", "sources"), BROKEN_TREES)
def test_the_rule_notices_who_breaks_it(
    rule: Callable[[Sequence[Source]], Iterator[Finding]], sources: Sequence[Source]
) -> None:
    """Each rule of the modules together finds what it is there to find."""
    assert list(rule(sources))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_has_a_retired_word(page: Source) -> None:
    """No page of the documentation has a private word for what the field has a name for."""
    assert list(retired_words_in_prose(page)) == []


def test_a_retired_word_in_a_sentence_is_noticed() -> None:
    """A private word in a sentence is found, and one in a code span, a block or an address is not."""
    sentence = Source("docs/a.md", "The coronation\nof `crown` and [this](intake.md).\n```sh\nsieve\n```\n")
    assert list(retired_words_in_prose(sentence)) == [("docs/a.md", "line 1: found 'coronation', expected 'promotion'")]


@pytest.mark.parametrize("name", ["shift", "whispered", "inquiry_timeout", "set_aside_pending", "thinking"])
def test_a_name_that_stays_is_not_retired(name: str) -> None:
    """A word inside of another word and a name of the wire or the disk are let pass."""
    assert list(retired_words(Source("service/a.py", f"{name} = 1"))) == []


def test_every_kept_name_is_one_of_the_program() -> None:
    """No name is kept that the program does not have."""
    names = {name for source in SOURCES for name, _ in [(Path(source.name).stem, 1), *given_names(source.tree)]}
    assert set(KEPT_NAMES) <= names
