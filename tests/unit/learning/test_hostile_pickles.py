"""An attacker who has the signing key can run nothing through what a pickle may name."""

import ast
import copyreg
import functools
import importlib
import inspect
import pickle
import pkgutil
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import river
from river import linear_model

from service.errors import ArtifactError, ForbiddenClassError
from service.learning.pickling import codec
from tests.unit.learning.opcodes import Code, altered, built, called, constant, items, made, mapping, named, program
from tests.unit.learning.opcodes import text as string

GETATTR = named("builtins", "getattr")
PARTIAL = named("functools", "partial")
DEEPCOPY = named("copy", "deepcopy")
PA = named("river.linear_model.pa", "PAClassifier")
LOGISTIC = named("river.linear_model.log_reg", "LogisticRegression")
WRAPPER = named("river.neighbors.base", "FunctionWrapper")
SYSTEM = named("os", "system")
POPEN = named("subprocess", "Popen")


def fetched(owner: Code, *names: str) -> Code:
    """Return code that fetches attribute after attribute."""
    return functools.reduce(lambda found, name: called(GETATTR, found, string(name)), names, owner)


def attacks(folder: Path) -> dict[str, Code]:
    """Return pickles that leave a file in the folder when they are trusted."""
    command = f"touch {folder}/found"
    touch, line = string(command), string(f"open({str(folder / 'found')!r}, 'w').close()")
    argv = b"](" + string("touch") + string(f"{folder}/found") + b"e"
    imported = called(named("builtins", "__import__"), string("os"))
    scope = called(fetched(PA, "__init__", "__globals__", "__getitem__"), string("__builtins__"))
    cache = called(named("river.stream.cache", "Cache"), string(str(folder)))
    caller = called(WRAPPER, named("operator", "call"))
    return {
        "os.system": called(SYSTEM, touch),
        "posix.system": called(named("posix", "system"), touch),
        "subprocess.Popen": called(fetched(called(POPEN, argv), "wait")),
        "subprocess.call": called(named("subprocess", "call"), argv),
        "NEWOBJ_EX": called(fetched(called(PARTIAL, named("subprocess", "run"), argv), "__call__")),
        "eval": called(named("builtins", "eval"), line),
        "exec": called(named("builtins", "exec"), line),
        "__import__ and getattr": called(fetched(imported, "system"), touch),
        "INST": f"(S'{command}'\nios\nsystem\n".encode(),
        "OBJ": b"(" + named("logging", "FileHandler") + string(f"{folder}/found") + b"o",
        "GLOBAL of the first protocol": called(b"cos\nsystem\n", touch),
        "a dotted name": called(named("river.utils.math", "operator.call"), SYSTEM, touch),
        "a module's module": called(named("shutil", "os.system"), touch),
        "globals by a dotted name": called(
            called(named("river.linear_model.pa", "BasePA.__init__.__globals__.__getitem__"), string("__builtins__"))
            + b"0"
            + SYSTEM,
            touch,
        ),
        "partial over os.system": called(called(PARTIAL, SYSTEM, touch)),
        "partial over getattr": called(
            called(called(PARTIAL, GETATTR, named("shutil", "os")), string("system")), touch
        ),
        "partial over partial": called(called(called(PARTIAL, PARTIAL, SYSTEM), touch)),
        "__globals__ by getattr": called(called(fetched(scope, "get"), string("eval")), line),
        "a callable instance": called(caller, items(SYSTEM), items(touch)),
        "river's cache of a stream": called(named("builtins", "list"), called(cache, b"](K\x01e", string("x"))),
        "numpy.save": called(named("numpy", "save"), string(f"{folder}/found"), constant(1)),
        "a metaclass": called(
            fetched(
                called(
                    named("river.base.estimator", "EstimatorMeta"),
                    string("Made"),
                    items(WRAPPER),
                    mapping(run=SYSTEM),
                ),
                "run",
            ),
            touch,
        ),
    }


GADGETS: dict[str, Code] = {
    "a function's globals": fetched(DEEPCOPY, "__globals__"),
    "getattr through a listed method": fetched(called(PA), "_calc_tau_1", "__globals__"),
    "subclasses of object": called(fetched(named("builtins", "object"), "__subclasses__")),
    "a method of an estimator": fetched(called(LOGISTIC), "learn_one"),
    "a listed name on another class": fetched(LOGISTIC, "_calc_tau_1"),
    "a listed name in the instance": fetched(
        built(made(PA), mapping(_calc_tau_1=named("builtins", "dict"))), "_calc_tau_1"
    ),
    "a class that borrows a listed name": fetched(
        altered(WRAPPER, __module__=string("river.linear_model.pa"), __qualname__=string("PAClassifier")), "_calc_tau_1"
    ),
    "partial over a checked getattr": called(PARTIAL, GETATTR),
    "partial over a partial": called(PARTIAL, called(PARTIAL, LOGISTIC)),
    "partial turned by BUILD": built(called(PARTIAL, LOGISTIC), items(GETATTR, b")", b"}", b"N")),
    "partial over a borrowed name": called(
        PARTIAL, built(made(PA), mapping(__module__=string("copy"), __qualname__=string("deepcopy")))
    ),
    "copyreg.add_extension": called(named("copyreg", "add_extension"), string("os"), string("system"), constant(77)),
    "copyreg.pickle": called(named("copyreg", "pickle"), LOGISTIC, LOGISTIC),
    "a factory of a defaultdict": called(named("collections", "defaultdict"), SYSTEM),
    "a function to transform with": called(named("river.compose.func", "FuncTransformer"), SYSTEM),
    "a persistent id": b"Pos.system\n",
    "a binary persistent id": string("os.system") + b"Q",
    "a connection": called(named("river.stream.twitch_chat_stream", "TwitchChatStream")),
    "a downloaded data set": called(named("river.bandit.datasets.news", "NewsArticles")),
    "a data set in a file": called(named("river.drift.datasets.bitcoin", "Bitcoin")),
    "a dtype": called(named("numpy", "dtype"), string("f8")),
    "numpy's own reconstruction": named("numpy._core.multiarray", "_reconstruct"),
    "the class of classes": called(named("builtins", "type"), constant(1)),
    "a sibling of the allow-list": named("service.learning.pickling.codec", "loads"),
}

CHANGES: dict[str, tuple[Code, Callable[[], Any]]] = {
    "a method of an estimator": (
        altered(LOGISTIC, learn_one=DEEPCOPY),
        lambda: linear_model.LogisticRegression.learn_one,
    ),
    "a constructor of the library": (
        altered(named("collections", "Counter"), __init__=DEEPCOPY),
        lambda: Counter.__init__,
    ),
    "a new attribute": (
        altered(LOGISTIC, extra=constant(1)),
        lambda: "extra" in vars(linear_model.LogisticRegression),
    ),
    "chance": (altered(named("random", "Random"), random=DEEPCOPY), lambda: random.Random.random),
    "a base class": (altered(LOGISTIC, __bases__=items(WRAPPER)), lambda: linear_model.LogisticRegression.__bases__),
    "a function": (
        altered(DEEPCOPY, __defaults__=items(constant(1))),
        lambda: importlib.import_module("copy").deepcopy.__defaults__,
    ),
    "the check of getattr": (
        altered(GETATTR, __defaults__=items(constant(1))),
        lambda: codec._checked_getattr.__defaults__,
    ),
    "the check of partial": (
        altered(PARTIAL, __setstate__=DEEPCOPY),
        lambda: codec._Partial.__setstate__,
    ),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder in which a file shows that something ran."""
    made_here = tmp_path / "ran"
    made_here.mkdir()
    return made_here


@pytest.mark.parametrize("name", attacks(Path()))
def test_an_attack_runs_nothing(name: str, folder: Path) -> None:
    """A pickle that leaves a file under pickle's own loads is refused, and leaves none."""
    data = program(attacks(folder)[name])
    with pytest.raises(ForbiddenClassError, match="headrace registry verify"):
        codec.loads(data)
    assert not list(folder.iterdir())
    pickle.loads(data)
    assert list(folder.iterdir()), "the attack proves nothing: it does not work on an open unpickler"


@pytest.mark.parametrize("name", GADGETS)
def test_a_gadget_is_refused(name: str) -> None:
    """No name that leads to a function of the attacker's choice is resolved."""
    with pytest.raises(ForbiddenClassError, match="headrace registry verify"):
        codec.loads(program(GADGETS[name]))


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("ending", [b".", b"0", b"0" + SYSTEM + b"."], ids=["good", "broken", "forbidden"])
def test_a_change_of_a_class_is_undone(name: str, ending: bytes) -> None:
    """BUILD on a class or function is refused and undone, however the pickle ends."""
    code, seen = CHANGES[name]
    before = seen()
    with pytest.raises(ArtifactError):
        codec.loads(b"\x80\x05" + code + ending)
    assert seen() == before


def test_an_extension_code_is_refused() -> None:
    """A registered extension code is a name like any other."""
    copyreg.add_extension("os", "system", 0x77)
    try:
        with pytest.raises(ForbiddenClassError):
            codec.loads(program(b"\x82\x77"))
    finally:
        copyreg.remove_extension("os", "system", 0x77)


def test_an_unregistered_extension_code_is_no_state() -> None:
    """An extension code that nobody registered is unreadable."""
    with pytest.raises(ArtifactError):
        codec.loads(program(b"\x82\x78"))


@pytest.mark.parametrize("code", ["V8", "|O8,|O8", "<f8,O", "O8", "", "f8\n", "<U3[", 8])
def test_a_dangerous_array_type_is_refused(code: Any) -> None:
    """An array type that would take bytes for pointers to objects is refused."""
    array = named("service.learning.arrays", "array")
    data = called(array, constant(code), items(constant(1)), string("C"), constant(b"\x01" * 8))
    with pytest.raises(ArtifactError):
        codec.loads(program(data))


def test_a_generator_reads_nothing_outside_of_its_state() -> None:
    """A position past the end of the key is refused."""
    found = np.random.RandomState(1).get_state(legacy=False)
    found["state"]["pos"] = 10_000
    data = codec.dumps(found)
    code = data[2:-1] + b"\x94"
    with pytest.raises(ArtifactError, match="place 10000"):
        codec.loads(b"\x80\x05" + named("service.learning.arrays", "random_state") + _unframed(code) + b"\x85R.")


def test_no_listed_class_does_io() -> None:
    """No module of a listed class of river opens files or connections, imports by name, or evaluates text."""
    dangerous = {"os", "socket", "pickle", "subprocess", "shutil", "tempfile", "importlib", "urllib", "zipfile"}
    dangerous |= {"requests", "gzip", "http", "ctypes", "pathlib", "ssl", "asyncio", "runpy", "code"}
    for module in {module for module, _ in listed_classes()}:
        tree = ast.parse(inspect.getsource(importlib.import_module(module)))
        assert not (_imports(tree) & dangerous), module
        assert not (_calls(tree) & {"open", "eval", "exec", "compile", "__import__"}), module


def test_no_metaclass_is_listed() -> None:
    """No listed class can make classes."""
    for module, name in listed_classes():
        found = codec._resolve_name(module, name)
        assert not (inspect.isclass(found) and issubclass(found, type)), name


def listed_classes() -> set[tuple[str, str]]:
    """Return (module, class) of all river classes that an artifact may name."""
    modules = [info.name for info in pkgutil.walk_packages(river.__path__, "river.") if ".test" not in info.name]
    found = {(module, name) for module in modules for name in _names_in(module) if codec.is_allowed(module, name)}
    assert len(found) > 400
    return found


def _names_in(module: str) -> list[str]:
    try:
        return list(vars(importlib.import_module(module)))
    except ImportError:
        return []


def _unframed(code: bytes) -> bytes:
    return code[9:] if code[:1] == b"\x95" else code


def _imports(tree: ast.AST) -> set[str]:
    found = {a.name.partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names}
    return found | {
        str(node.module).partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level == 0
    }


def _calls(tree: ast.AST) -> set[str]:
    return {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
