"""Running a query: the operation behind each kind, with the same results and errors as on the command line."""

from collections.abc import Mapping
from typing import Any, assert_never

from service.domain.access.query import QueryKind, QueryRequest
from service.domain.specification.model import ModelSpec
from service.learning.monitors.false_alarms import CalibrationSettings
from service.operations.monitoring.drift import calibrate_monitors, check_monitors, require_usable_monitors
from service.operations.replay.backtest import BacktestRequest, run_backtest
from service.operations.services import Services
from service.operations.states.resolve import resolve_state_by_name


def run_query(services: Services, query: QueryRequest) -> dict[str, Any]:
    """Return what the command line prints as JSON; nothing is changed."""
    spec, options = ModelSpec.model_validate(query.spec), query.options
    if query.kind is QueryKind.WHAT_IF:
        return _backtest(services, query.model, spec, options)
    if query.kind is QueryKind.DRIFT_CHECK:
        result = check_monitors(services, spec, events=options["history"], report_progress=_ignore_progress)
    elif query.kind is QueryKind.CALIBRATION:
        trial = CalibrationSettings(options["events"], options["target"], options["seed"])
        result = calibrate_monitors(
            services, spec, events=options["history"], trial=trial, report_progress=_ignore_progress
        )
    else:
        assert_never(query.kind)
    require_usable_monitors(result)
    return result


def _backtest(services: Services, model: str, spec: ModelSpec, options: Mapping[str, Any]) -> dict[str, Any]:
    begin, end = (
        None if name is None else resolve_state_by_name(services, model, name)
        for name in (options["from"], options["to"])
    )
    return run_backtest(services, model, BacktestRequest(spec, begin, end))


def _ignore_progress(what: str, events: int, total: int) -> None:
    """Do nothing: nobody watches the progress of a query."""
