"""Draw a metric's history as a curve, in the terminal or (with the extra `plot`) as a PNG.

`cli/commands/model.py` and `cli/demo` import it; it draws values that it is given.
Begin with `curve.py`.
"""
