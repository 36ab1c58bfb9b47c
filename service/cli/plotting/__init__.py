"""A metric's history as a curve, in the terminal and as a PNG (with the extra `plot`).

`cli/commands/model.py` and `cli/demo` import it; it only draws values that it is given.
Begin with `curve.py`.
"""
