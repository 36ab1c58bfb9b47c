"""`POST /models/{m}/events` and `/models/{m}/labels`: all records of a request become durable in the stream, or none.

`predictions` and `bootstrap/server.py` import it; it uses `edge` only.
Begin with `routes.py`, then `records.py` for how a body is split.
"""
