"""Imports all tables, for migrations and their tests."""

from service.storage.schema import access as access_tables
from service.storage.schema import challengers as challenger_tables
from service.storage.schema import jobs as job_tables
from service.storage.schema import reports as report_tables
from service.storage.schema import set_aside as set_aside_tables
from service.storage.schema.registry import metadata

__all__ = ["access_tables", "challenger_tables", "job_tables", "metadata", "report_tables", "set_aside_tables"]
