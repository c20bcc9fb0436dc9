"""The product in Python and named SQL: landing, metering, rating, submission and reconciliation.

Nothing here imports Airflow; everything here runs and is tested without it.
"""
