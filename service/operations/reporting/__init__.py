"""Showing: a model, a job or a replay as plain rows, and a retraining as a Markdown, HTML or JSON report.

Imported by `operations.retraining`, which stores reports, and by `serving` and `cli`.
Begin with `describe.describe_model` for rows and `report.build_document` for reports.
"""
