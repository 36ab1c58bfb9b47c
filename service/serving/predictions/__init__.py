"""`POST /invocations` and `/models/{m}/invocations`: request bodies, predictions, response formats, logged predictions.

`bootstrap/server.py` imports its routes; it may use `ingestion` and `edge`, not `admin`.
Begin with `routes.py`.
"""
