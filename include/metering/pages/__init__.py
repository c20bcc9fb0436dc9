"""The Billing pages: plain HTML about reconciliation, bills and the events under them. Who may see them is decided by
the UI that shows them (`plugins/views/billing_pages.py`); nothing here changes anything.
"""
