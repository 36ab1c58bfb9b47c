"""The routes of the admin API, one file a resource: models, versions, commands, rollback, jobs, exclusions, queries, tokens.

Only `admin/application.py` imports them; their function names, body classes and operation ids are public in OpenAPI.
Begin with `models.py`; copy it for a new resource.
"""
