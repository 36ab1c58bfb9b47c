"""Why a learner is not ready, in sentences for `/readyz`."""

from collections.abc import Iterator, Sequence

from service.operations.session import Session


def reasons(sessions: Sequence[Session], *, waits_for: str) -> list[str]:
    """Empty where every model is being learned and becomes durable."""
    found = [] if sessions or waits_for else ["no model is being learned yet"]
    found += [waits_for] if waits_for else []
    return [*found, *(f"{session.spec.name}: {reason}" for session in sessions for reason in _of(session))]


def _of(session: Session) -> Iterator[str]:
    if session.feed.outage is not None:
        yield f"the stream cannot be read {session.feed.outage}"
    if session.committer.outage is not None:
        yield f"nothing has become durable {session.committer.outage}"
    if session.held_back:
        yield "learning waits, because too much that was learned waits for its commit"
    if session.frozen:
        yield f"frozen; {session.paused_because or 'see `headrace model history`'}"
