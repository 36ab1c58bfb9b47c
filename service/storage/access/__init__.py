"""Repositories of HTTP access: API tokens, and stored responses by idempotency key.

Only `storage/registry.py` imports them; they use `transactions` and `schema`.
Begin with `tokens.py`.
"""
