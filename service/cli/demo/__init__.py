"""`headrace demo`: a model learns, is killed, retrained, replaced, misled and rolled back, in one terminal.

Only `cli/start.py` imports it.
Begin with `demo.py`, whose methods are the acts in their order.
"""
