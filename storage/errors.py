"""What storage raises."""

from __future__ import annotations


class StorageError(Exception):
    """The record could not be read or written."""
