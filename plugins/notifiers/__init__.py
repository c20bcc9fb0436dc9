"""Notifiers of this house: `from notifiers.failure import FailureNotifier`."""
