"""What every request passes before its route: connection, limits, accounting, authorization, problems, probes.

All of `serving` imports it; the only routes that it defines are the probes. Begin with `application.py`, which stacks
the layers; `problems.py` maps errors to responses.
"""
