"""Serve a role's `/metrics`, `/healthz` and `/readyz`, where the role matters more than its metrics."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from prometheus_client import CollectorRegistry

from service.config.sections import LOOPBACK
from service.errors import ConfigurationError
from service.serving.edge.health import health_server


@contextmanager
def optional_health_server(
    port: int, registry: CollectorRegistry, not_ready: Callable[[], Sequence[str]]
) -> Iterator[tuple[int | None, ConfigurationError | None]]:
    """Yield the port and None, or None and the error if the port is taken.

    A role whose port is taken runs without metrics.
    """
    found: tuple[int | None, ConfigurationError | None]
    with ExitStack() as stack:
        try:
            server = health_server((LOOPBACK[0], port), registry=registry, not_ready=not_ready)
            found = stack.enter_context(server), None
        except ConfigurationError as error:
            found = None, error
        yield found
