"""The database in which bills of the past are made."""

from ..metering.conftest import House, house

__all__ = ["House", "house"]
