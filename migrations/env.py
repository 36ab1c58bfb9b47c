"""Alembic's entry: the connection comes from `service.storage.upgrade`."""

from alembic import context

from service.storage import job_tables

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=job_tables.jobs.metadata,
    render_as_batch=True,
    transactional_ddl=False,
)
context.run_migrations()
