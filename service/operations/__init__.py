"""The operations of Headrace, a package per concern: they act, while `service.learning` and `service.domain` decide.

Imported by `bootstrap`, `cli`, `serving` and `scheduling`; imports `learning`, `domain`, `ports`, never an adapter.
Begin with `learning_loop.worker` for the daemon, `commands.execute` for a command, `services` for what both work with.
"""
