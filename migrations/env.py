"""Alembic's entry point; the connection comes from `service.storage.schema.migrate`."""

from alembic import context

from service.storage.schema.all_tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transactional_ddl=False,
)
context.run_migrations()
