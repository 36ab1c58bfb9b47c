"""How long to wait for a service that is away, what is said meanwhile, and what a stop leaves behind."""

import threading
import time

import pytest

from service.errors import RefusedError, UnavailableError
from service.operations.retry import Backoff, Outage, run_interruptibly, submit_to_daemon_thread


def test_waits_double_up_to_five_seconds() -> None:
    """Each wait is at most a half off its doubled length, and none is above seven and a half seconds."""
    backoff = Backoff(0.1)
    for expected in (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0):
        assert expected * 0.5 <= backoff.next_s() <= expected * 1.5


def test_an_answer_begins_anew() -> None:
    """After a success the next failure waits as briefly as the first."""
    backoff = Backoff(0.1)
    for _ in range(6):
        backoff.next_s()
    backoff.reset()
    assert backoff.next_s() <= 0.15


def test_an_outage_counts_from_its_first_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """An outage keeps when it began and says the newest error."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    first = Outage.updated(None, UnavailableError("refused"))
    now[0] = 107.0
    assert str(Outage.updated(first, UnavailableError("timed out"))) == "for 7 s: timed out"


def test_what_runs_aside_comes_back() -> None:
    """A result is returned and an error is raised, as if it had not run in another thread."""
    assert run_interruptibly(lambda: threading.current_thread().daemon, stop=threading.Event())

    def refuse() -> None:
        msg = "found nothing"
        raise RefusedError(msg)

    with pytest.raises(RefusedError, match="found nothing"):
        run_interruptibly(refuse, stop=threading.Event())


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_even_an_exit_is_raised_to_who_asked(error: type[BaseException]) -> None:
    """What would silently end a thread is raised where its result is asked for."""

    def leave() -> None:
        raise error

    future = submit_to_daemon_thread(leave)
    assert isinstance(future.exception(timeout=30), error)


def test_a_stop_leaves_the_thread_behind() -> None:
    """Who is told to stop does not wait for an answer that may never come."""
    stop, answered = threading.Event(), threading.Event()
    stop.set()
    with pytest.raises(UnavailableError, match="stopped while the stream had not answered yet"):
        run_interruptibly(lambda: answered.wait(30), stop=stop)
    answered.set()
