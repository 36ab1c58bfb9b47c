"""The admin API under `/api/v1`: application, dependencies, authorization, idempotency, paging and OpenAPI document.

`bootstrap/admin.py` builds it.
Begin with `application.py`; `dependencies.py` shows what a route receives.
"""
