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

from service.bootstrap.queries import server_queries
from service.bootstrap.server import (
    access_log,
    build_asgi_app,
    build_ingestor,
    build_model_cache,
    new_worker_load,
    server_routes,
)
from service.cli import children
from service.cli.context import ExitCode, report_errors, set_up_logging
from service.cli.process.signals import stop_on_signals
from service.cli.process.startup import Startup
from service.cli.process.supervisor import Supervisor
from service.config import Settings, find_configuration, load_settings, set_metrics_folder
from service.config.sections import ServerSettings
from service.errors import ConfigurationError
from service.metrics.null import NullTelemetry
from service.metrics.server import PrometheusServerTelemetry, aggregated_registry, use_multiprocess_values
from service.serving.edge.connections import connection_class, watch_connections
from service.serving.edge.limits import WorkerLoad

_log = structlog.get_logger(__name__)

BACKLOG = 2048
DRAIN_S = 8
KEEP_ALIVE_S = 75
SWITCH_INTERVAL_S = 0.001
"""How long another thread may keep a request waiting for the interpreter's lock."""
GC_THRESHOLDS = (20_000, 20, 20)
"""A request leaves no reference cycles; Python's default of 700 would collect every few requests."""


def serve(config: Path | None, given: Mapping[str, object]) -> None:
    """Answer predictions over HTTP, following every checkpoint, until stopped."""
    with report_errors():
        file = find_configuration(config).resolve()
        settings = load_settings(file)
        run_server(settings.model_copy(update={"server": _with_options(settings.server, given)}), file)


def _with_options(server: ServerSettings, options: Mapping[str, object]) -> ServerSettings:
    """Return the settings with the command line's options; raise ConfigurationError for invalid ones."""
    try:
        return ServerSettings.model_validate(
            {**server.model_dump(), **{k: v for k, v in options.items() if v is not None}}
        )
    except ValidationError as error:
        message = "\n".join(one["msg"].removeprefix("Value error, ") for one in error.errors())
        raise ConfigurationError(message) from error


def run_server(settings: Settings, file: Path) -> None:
    """Serve in this process, or with several workers under a supervisor that share a socket.

    Raise typer.Exit if a worker failed.
    """
    set_up_logging(settings)
    with listening_socket(settings.server) as listener:
        if settings.server.workers == 1:
            _serve(settings, file, listener)
            return
        with TemporaryDirectory(prefix="headrace-metrics-") as folder:
            set_metrics_folder(Path(folder))
            names = [f"server-{number}" for number in range(1, settings.server.workers + 1)]
            roles = {name: partial(_run_worker, settings, file, listener, name, Path(folder)) for name in names}
            code = Supervisor(roles).run()
    if code != ExitCode.DONE:
        raise typer.Exit(code)


def _run_worker(settings: Settings, file: Path, listener: socket.socket, name: str, folder: Path) -> int:
    def work() -> None:
        use_multiprocess_values(name)
        _serve(settings, file, listener, shared_metrics=folder)

    return _run_role(work)


def _serve(settings: Settings, file: Path, listener: socket.socket, shared_metrics: Path | None = None) -> None:
    registry = CollectorRegistry()
    telemetry = PrometheusServerTelemetry(registry)
    if shared_metrics is None:
        ProcessCollector(registry=registry)
    stop = threading.Event()
    with ExitStack() as stack:
        with stop_on_signals(stop):
            app = Startup(settings, NullTelemetry(), stop).wait_for_app(stack)
        if app is None:
            return
        model_cache = build_model_cache(app, telemetry, stop)
        stack.enter_context(model_cache.running())
        ingest = stack.enter_context(closing(build_ingestor(app)))
        metrics = partial(_metrics_page, registry, shared_metrics)
        worker_load = new_worker_load(settings.server)
        log = access_log(settings)
        if log is not None:
            stack.enter_context(log.writing())
        queries = server_queries(settings, file, command=children.QUERY)
        found = server_routes(app, model_cache, ingest, queries=queries, telemetry=telemetry, metrics=metrics)
        asgi_app = build_asgi_app(found, telemetry, load=worker_load, log=log)
        uvicorn_config = _uvicorn_config(settings.server, asgi_app, http=connection_class(worker_load, telemetry))
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        gc.collect()
        gc.freeze()  # imported objects stay; scanning them would delay requests
        gc.set_threshold(*GC_THRESHOLDS)
        _log.info("server_started", pid=os.getpid(), port=listener.getsockname()[1], host=settings.server.host)
        _Server(uvicorn_config, worker_load, queries.runner.close).run(sockets=[listener])
    _log.info("server_stopped", pid=os.getpid())


def _metrics_page(registry: CollectorRegistry, folder: Path | None) -> bytes:
    return generate_latest(registry if folder is None else aggregated_registry(folder))


class _Server(uvicorn.Server):
    """Drains at the first SIGTERM or SIGINT and returns; the second one kills."""

    def __init__(self, options: uvicorn.Config, worker_load: WorkerLoad, before_shutdown: Callable[[], None]) -> None:
        super().__init__(options)
        self._load = worker_load
        self._before_shutdown = before_shutdown

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and watch for slow and idle clients from the beginning."""
        await super().startup(sockets)
        self._watch = asyncio.create_task(watch_connections(self.server_state.connections, self._load))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End running queries, which may take minutes, and shut down."""
        self._before_shutdown()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Handle signals as every role does."""
        stop = threading.Event()
        drain_thread = threading.Thread(target=self._drain_on, args=(stop,), daemon=True)
        drain_thread.start()
        with stop_on_signals(stop):
            yield
        stop.set()

    def _drain_on(self, stop: threading.Event) -> None:
        stop.wait()
        self.should_exit = True


def _uvicorn_config(server: ServerSettings, routes: Any, *, http: Any) -> uvicorn.Config:
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
        timeout_keep_alive=KEEP_ALIVE_S,
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
def listening_socket(server: ServerSettings) -> Iterator[socket.socket]:
    """Yield a listening socket that workers share; raise ConfigurationError if the port is taken."""
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


def run_server_role(settings: Settings, file: Path) -> int:
    """Run the server under the supervisor, and return its exit code."""
    return _run_role(partial(run_server, settings, file))


def _run_role(role: Callable[[], None]) -> int:
    try:
        with report_errors():
            role()
    except typer.Exit as done:
        return done.exit_code
    except Exception:  # noqa: BLE001 - the supervisor restarts the child; here the reason is logged
        _log.exception("server_failed")
        return ExitCode.FAILED
    return ExitCode.DONE
