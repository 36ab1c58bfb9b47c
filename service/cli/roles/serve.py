"""`headrace serve`: the server, alone or as a role of `headrace run`."""

import asyncio
import gc
import logging
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import structlog
import typer
import uvicorn
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from pydantic import ValidationError

from service.bootstrap.queries import desk
from service.bootstrap.server import access_log, asgi, follower, intake, load, routes
from service.cli import children
from service.cli.context import Exit, reported, set_up_logging
from service.cli.process.signals import stopping
from service.cli.process.startup import Start
from service.cli.process.supervisor import Supervisor
from service.config import Settings, find, share_metrics
from service.config import load as load_settings
from service.config.sections import Server
from service.errors import ConfigurationError
from service.metrics.null import NullTelemetry
from service.metrics.server import PrometheusServing, share_values, shared
from service.serving.edge.connections import connection_class, watch_connections
from service.serving.edge.limits import Load

_log = structlog.get_logger(__name__)

BACKLOG = 2048
DRAIN_S = 8
IDLE_S = 75
SWITCH_S = 0.001
"""How long a thread beside may keep a request waiting for the interpreter."""
COLLECTING = (20_000, 20, 20)
"""A request leaves no cycles behind; Python's own 700 would look for some every few of them."""


def serve(config: Path | None, given: Mapping[str, object]) -> None:
    """Answer predictions over HTTP, following every checkpoint, until stopped."""
    with reported():
        file = find(config).resolve()
        settings = load_settings(file)
        serve_here(settings.model_copy(update={"server": _changed(settings.server, given)}), file)


def _changed(server: Server, given: Mapping[str, object]) -> Server:
    """With what the command line says; ConfigurationError as for the file."""
    try:
        return Server.model_validate({**server.model_dump(), **{k: v for k, v in given.items() if v is not None}})
    except ValidationError as error:
        said = "\n".join(one["msg"].removeprefix("Value error, ") for one in error.errors())
        raise ConfigurationError(said) from error


def serve_here(settings: Settings, file: Path) -> None:
    """The server: this process, or a supervisor of several that share a socket; typer.Exit where it failed."""
    set_up_logging(settings)
    with listening(settings.server) as listener:
        if settings.server.workers == 1:
            _serve(settings, file, listener)
            return
        with TemporaryDirectory(prefix="headrace-metrics-") as folder:
            share_metrics(Path(folder))
            names = [f"server-{number}" for number in range(1, settings.server.workers + 1)]
            roles = {name: partial(_worker, settings, file, listener, name, Path(folder)) for name in names}
            code = Supervisor(roles).run()
    if code != Exit.DONE:
        raise typer.Exit(code)


def _worker(settings: Settings, file: Path, listener: socket.socket, name: str, folder: Path) -> int:
    def work() -> None:
        share_values(name)
        _serve(settings, file, listener, shared_metrics=folder)

    return _reported(work)


def _serve(settings: Settings, file: Path, listener: socket.socket, shared_metrics: Path | None = None) -> None:
    registry = CollectorRegistry()
    telemetry = PrometheusServing(registry)
    if shared_metrics is None:
        ProcessCollector(registry=registry)
    stop = threading.Event()
    with ExitStack() as stack:
        with stopping(stop):
            app = Start(settings, NullTelemetry(), stop).opened(stack)
        if app is None:
            return
        following = follower(app, telemetry, stop)
        stack.enter_context(following.running())
        ingest = stack.enter_context(closing(intake(app)))
        metrics = partial(_scraped, registry, shared_metrics)
        limits = load(settings.server)
        log = access_log(settings)
        if log is not None:
            stack.enter_context(log.writing())
        asked = desk(settings, file, command=children.INQUIRY)
        found = routes(app, following, ingest, desk=asked, telemetry=telemetry, metrics=metrics)
        answering = asgi(found, telemetry, load=limits, log=log)
        options = _options(settings.server, answering, http=connection_class(limits, telemetry))
        sys.setswitchinterval(SWITCH_S)
        gc.collect()
        gc.freeze()  # what was imported stays: to look through it would hold requests up
        gc.set_threshold(*COLLECTING)
        _log.info("server_started", pid=os.getpid(), port=listener.getsockname()[1], host=settings.server.host)
        _Server(options, limits, asked.inquiries.close).run(sockets=[listener])
    _log.info("server_stopped", pid=os.getpid())


def _scraped(registry: CollectorRegistry, folder: Path | None) -> bytes:
    return generate_latest(registry if folder is None else shared(folder))


class _Server(uvicorn.Server):
    """Drains at the first SIGTERM or SIGINT and returns; the second kills."""

    def __init__(self, options: uvicorn.Config, limits: Load, ending: Callable[[], None]) -> None:
        super().__init__(options)
        self._limits = limits
        self._ending = ending

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Clients that are late are looked for from the beginning."""
        await super().startup(sockets)
        self._watch = asyncio.create_task(watch_connections(self.server_state.connections, self._limits))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """What takes minutes is ended first."""
        self._ending()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As every role does it."""
        stop = threading.Event()
        asked = threading.Thread(target=self._drain_when, args=(stop,), daemon=True)
        asked.start()
        with stopping(stop):
            yield
        stop.set()

    def _drain_when(self, stop: threading.Event) -> None:
        stop.wait()
        self.should_exit = True


def _options(server: Server, routes: Any, *, http: Any) -> uvicorn.Config:
    for name in ("uvicorn.error", "uvicorn.access", "uvicorn.asgi"):
        logging.getLogger(name).disabled = True
    made = uvicorn.Config(
        routes,
        loop="uvloop",
        http=http,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=IDLE_S,
        timeout_graceful_shutdown=DRAIN_S,
        ssl_certfile=server.tls.certfile if server.tls else None,
        ssl_keyfile=str(server.tls.keyfile) if server.tls else None,
    )
    try:
        made.load()
    except OSError as error:
        msg = f"found server.tls that cannot be used ({error}), expected a certificate and its key as PEM files"
        raise ConfigurationError(msg) from error
    return made


@contextmanager
def listening(server: Server) -> Iterator[socket.socket]:
    """A socket that workers share; ConfigurationError where the port is taken."""
    family = socket.AF_INET6 if ":" in server.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((server.host, server.port))
        except OSError as error:
            msg = (
                f"found {server.host}:{server.port} not free ({error.strerror}), expected a free port: another server "
                "may run here; set server.port, or 0 to have one chosen"
            )
            raise ConfigurationError(msg) from error
        listener.listen(BACKLOG)
        listener.set_inheritable(True)
        yield listener


def server_child(settings: Settings, file: Path) -> int:
    """The role's exit code under the supervisor."""
    return _reported(partial(serve_here, settings, file))


def _reported(role: Callable[[], None]) -> int:
    try:
        with reported():
            role()
    except typer.Exit as done:
        return done.exit_code
    except Exception:  # noqa: BLE001 - the supervisor restarts the child; here the reason is logged
        _log.exception("server_failed")
        return Exit.FAILED
    return Exit.DONE
