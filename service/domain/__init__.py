"""Frozen values, enums and pure rules that every other package shares.

Everything may import it; it imports only `service.errors`.
Begin with `stream/events.py`, then `registry/registry.py`.
"""
