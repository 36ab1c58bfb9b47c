"""What every role's process needs: start-up while the registry is away, signals, supervision, health port, exit.

`cli/roles` imports it; it knows no role.
Begin with `supervisor.py`.
"""
