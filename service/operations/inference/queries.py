"""Answering an inquiry: the operation behind each kind, with the figures and the refusals of the command line."""

from collections.abc import Mapping
from typing import Any, assert_never

from service.domain.access.query import Inquiry, InquiryKind
from service.domain.specification.model import ModelSpec
from service.learning.monitors.false_alarms import Trial
from service.operations.monitoring.drift import calibrate, check, require_fitting
from service.operations.replay.backtest import Question, what_if
from service.operations.services import Services
from service.operations.states.resolve import state_of


def answered(services: Services, inquiry: Inquiry) -> dict[str, Any]:
    """What the command line prints as JSON; nothing is changed."""
    spec, options = ModelSpec.model_validate(inquiry.spec), inquiry.options
    if inquiry.kind is InquiryKind.WHAT_IF:
        return _what_if(services, inquiry.model, spec, options)
    if inquiry.kind is InquiryKind.DRIFT_CHECK:
        found = check(services, spec, events=options["history"], tell=_nobody)
    elif inquiry.kind is InquiryKind.CALIBRATION:
        trial = Trial(options["events"], options["target"], options["seed"])
        found = calibrate(services, spec, events=options["history"], trial=trial, tell=_nobody)
    else:
        assert_never(inquiry.kind)
    require_fitting(found)
    return found


def _what_if(services: Services, model: str, spec: ModelSpec, options: Mapping[str, Any]) -> dict[str, Any]:
    begin, end = (
        None if name is None else state_of(services, model, name) for name in (options["from"], options["to"])
    )
    return what_if(services, model, Question(spec, begin, end))


def _nobody(what: str, events: int, total: int) -> None:
    """Is told, and tells nobody."""
