"""Tokens and roles, rate limits, stored responses of idempotent requests, and queries that run in a process.

Every package but learning, stream and config may import it; it imports `domain/registry` and `service.errors`.
Begin with `access.py`.
"""
