"""The error of this package."""

from __future__ import annotations

from onoma.errors import OnomaError


class ExportError(OnomaError):
    """A model cannot be exported, or the exported one is not faithful or not small enough."""
