"""The admin API's parts, over an open registry."""

from dataclasses import replace

from service.bootstrap import App
from service.bootstrap.queries import Desk
from service.bootstrap.training import live_trainer, log_of
from service.serving.admin.application import AdminApi, application
from service.serving.admin.dependencies import Parts
from service.serving.edge.auth import Gate
from service.storage.transactions.holder import Holder


def admin_api(app: App, gate: Gate, desk: Desk) -> AdminApi:
    """To be mounted at `/api/v1`; `gate` is that of the server's other routes."""
    return application(
        Parts(
            services=app.services,
            acting=lambda: replace(app.services, holder=str(Holder.current())),
            gate=gate,
            tokens=app.registry.tokens,
            answers=app.registry.answers,
            reports=app.registry.reports,
            metric_history=app.metric_history,
            log_of=log_of,
            spec_in_file=desk.spec,
            inquire=desk.inquiries.answer,
            is_trained=lambda model: live_trainer(app.services, model) is not None,
        )
    )
