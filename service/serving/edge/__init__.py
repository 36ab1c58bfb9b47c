"""What every request passes before a route: connections, limits, authorization, accounting, access log, problems, probes.

All of `serving` may import it; it knows no route of its own but the probes.
Begin with `application.py`, which puts the layers together; `problems.py` maps errors to responses.
"""
