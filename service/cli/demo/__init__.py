"""`headrace demo`: a model learns, is killed, retrained, promoted, misled and rolled back, in one terminal.

Only `cli/app.py` imports it; nothing depends on it.
Begin with `demo.py`, whose methods are the acts in their order.
"""
