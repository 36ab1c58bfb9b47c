"""The routes of the admin API, one file per resource.

`admin/application.py` imports them. Their function names, docstrings, body classes and operation ids are published in
the OpenAPI document. Begin with `models.py`; copy it for a new resource.
"""
