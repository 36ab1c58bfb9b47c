"""The pure core: estimators, guard, label join, metrics, monitors and evaluation, without a clock or IO.

Operations, serving and bootstrap may import it; it imports only `service.domain` and `service.errors`. Begin with
`learner/learner.py`, which shows what a run of records does to a lineage.
"""
