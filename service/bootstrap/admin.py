"""Builds the admin API over an open registry."""

from dataclasses import replace

from service.bootstrap import App
from service.bootstrap.queries import ServerQueries
from service.bootstrap.training import job_log, live_trainer
from service.serving.admin.application import AdminApi, admin_application
from service.serving.admin.dependencies import AdminDependencies
from service.serving.edge.auth import Authorizer
from service.storage.transactions.holder import Holder


def admin_api(app: App, authorizer: Authorizer, queries: ServerQueries) -> AdminApi:
    """Return the admin API, to be mounted at `/api/v1`; `authorizer` is the one that the server's other routes use."""
    return admin_application(
        AdminDependencies(
            services=app.services,
            command_services=lambda: replace(app.services, holder=str(Holder.current())),
            authorizer=authorizer,
            tokens=app.registry.tokens,
            stored_responses=app.registry.stored_responses,
            reports=app.registry.reports,
            metric_history=app.metric_history,
            job_log=job_log,
            configured_spec=queries.spec,
            run_query=queries.runner.run,
            has_trainer=lambda model: live_trainer(app.services, model) is not None,
        )
    )
