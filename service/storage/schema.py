"""All tables at once, for migrations and their tests."""

from service.storage import access_tables, challenger_tables, job_tables, report_tables, set_aside_tables
from service.storage.tables import metadata

__all__ = ["access_tables", "challenger_tables", "job_tables", "metadata", "report_tables", "set_aside_tables"]
