"""`POST /invocations` and `/models/{m}/invocations`: request bodies, predictions, response formats, logging.

`bootstrap/server.py` imports the routes; it may use `ingestion` and `edge`, but not `admin`.
Begin with `routes.py`.
"""
