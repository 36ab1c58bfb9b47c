"""Questions that take long, each answered by a process of its own, within limits of time and memory."""

import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import structlog

from service import errors
from service.domain.access.query import Inquiry, InquiryKind
from service.errors import HeadraceError, RefusedError, SpecificationError, UnavailableError
from service.scheduling.captured_log import contents
from service.scheduling.child_process import Beginning, Child, excess

_log = structlog.get_logger(__name__)

POLL_S = 0.05
MEMORY_EVERY_S = 0.25
LOG_BYTES = 1_000_000
MOST_TOLD = 4000
"""Letters of what a process has printed, for the log."""
_QUESTION, _ANSWER, _REFUSAL, _LOG = "question.json", "answer.json", "refusal.json", "log"


@dataclass(frozen=True, slots=True)
class Terms:
    """How a process is started, told the folder of its question, and what it may take."""

    command: Callable[[Path], Sequence[str]]
    max_runtime_s: float
    memory: int


class Inquiries:
    """Answers in the thread that asks; a process that nobody waits for any more is killed, for it only reads."""

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._closed = threading.Event()

    def close(self) -> None:
        """End what is being answered, and answer nothing more."""
        self._closed.set()

    def answer(self, inquiry: Inquiry, over: threading.Event) -> bytes | None:
        """As JSON, or the error that the operation has raised; None where `over` was set before."""
        with TemporaryDirectory(prefix="headrace-inquiry-") as name:
            folder = Path(name)
            _ask(folder, inquiry)
            child = Child(
                Beginning(
                    command=lambda _words: self._terms.command(folder),
                    log=folder / _LOG,
                    log_bytes=LOG_BYTES,
                    first_to_go=True,
                    memory_every_s=MEMORY_EVERY_S,
                )
            )
            try:
                code = self._watched(child, over)
            finally:
                _end(child)
            _tell(folder / _LOG, inquiry, code)
            return None if code is None else _outcome(folder, code)

    def _watched(self, child: Child, over: threading.Event) -> int | None:
        """How it has ended; None where nobody waits for it."""
        until = time.monotonic() + self._terms.max_runtime_s
        while (code := child.poll()) is None:
            if over.is_set():
                return None
            if self._closed.is_set():
                msg = "found the server about to stop, expected it to go on; ask again"
                raise UnavailableError(msg)
            self._require_within(child, until)
            time.sleep(POLL_S)
        return code

    def _require_within(self, child: Child, until: float) -> None:
        helps = "ask about fewer events, or on the host by the command line, which has no limit"
        if time.monotonic() > until:
            limit = self._terms.max_runtime_s
            msg = f"found no answer after {limit:g} s, expected one by then (server.inquiry_timeout); {helps}"
            raise RefusedError(msg)
        used = child.memory()
        if used > self._terms.memory:
            msg = f"{excess(used, self._terms.memory, name='server.inquiry_memory')}; {helps}"
            raise RefusedError(msg)


def question(folder: Path) -> Inquiry:
    """In the process: what is asked."""
    found = json.loads((folder / _QUESTION).read_text(encoding="utf-8"))
    return Inquiry(**{**found, "kind": InquiryKind(found["kind"])})


def reply(folder: Path, answer: bytes) -> None:
    """In the process: the answer, as JSON."""
    (folder / _ANSWER).write_bytes(answer)


def refuse(folder: Path, error: HeadraceError) -> None:
    """In the process: why there is none."""
    told = {"error": type(error).__name__, "text": str(error)}
    (folder / _REFUSAL).write_text(json.dumps(told), encoding="utf-8")


def _ask(folder: Path, inquiry: Inquiry) -> None:
    told = {"kind": inquiry.kind, "model": inquiry.model, "spec": inquiry.spec, "options": inquiry.options}
    (folder / _QUESTION).write_text(json.dumps(told), encoding="utf-8")


def _outcome(folder: Path, code: int) -> bytes:
    if code == 0:
        return (folder / _ANSWER).read_bytes()
    if (folder / _REFUSAL).exists():
        raise _error(**json.loads((folder / _REFUSAL).read_text(encoding="utf-8")))
    if code < 0:
        msg = f"found the process that was to answer killed by signal {-code}, expected it to end by itself; ask again"
        raise UnavailableError(msg)
    msg = "the process that was to answer has failed; the server's log has more"
    raise HeadraceError(msg)


def _error(error: str, text: str) -> HeadraceError:
    """As it was raised in the process."""
    kind = getattr(errors, error, HeadraceError)
    if kind is SpecificationError:
        path, _, message = text.partition(": ")
        return SpecificationError(path, message)
    found: HeadraceError = kind(text)
    return found


def _end(child: Child) -> None:
    while child.poll() is None:
        child.kill()
        time.sleep(POLL_S)
    child.close()


def _tell(log: Path, inquiry: Inquiry, code: int | None) -> None:
    text = contents(log)
    if text:
        told = {"model": inquiry.model, "kind": inquiry.kind, "code": code, "printed": text[-MOST_TOLD:]}
        _log.warning("inquiry_printed", **told)
