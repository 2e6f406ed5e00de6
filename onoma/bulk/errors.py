"""What stops a bulk run."""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

from onoma.errors import OnomaError


class BulkError(OnomaError):
    """A bulk run cannot begin, or cannot go on; the message says which file, line or option is the cause."""

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self.args  # it comes from worker processes


def parquet_module(name: str) -> ModuleType:
    """A module of pyarrow, which the base install lacks.

    :raises ModuleNotFoundError: says which extra brings it.
    """
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        message = "Parquet and zst need pyarrow, which is not installed: pip install 'onoma[bulk]'"
        raise ModuleNotFoundError(message) from error
