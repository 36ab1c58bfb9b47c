"""Commands that run once and end, one file per noun.

Only `cli/app.py` imports them; they call `bootstrap` and `operations` and print the result. Begin with `model.py`;
`context.py` shows how to open the registry and how to print.
"""
