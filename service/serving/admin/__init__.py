"""The admin API under `/api/v1`: its application, dependencies, authorization, idempotency, paging and OpenAPI document.

`bootstrap/admin.py` imports the application; routes import the rest; nothing outside of `serving` imports it otherwise.
Begin with `application.py`, then `dependencies.py` for what a route is given.
"""
