"""What the training jobs tell a person: lines and progress bars on stderr, so that stdout stays clean."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TypeVar

from rich.console import Console
from rich.progress import track

Item = TypeVar("Item")

console = Console(stderr=True)


def follow(items: Sequence[Item], description: str) -> Iterator[Item]:
    """The items, with a progress bar where stderr is a terminal."""
    yield from track(items, description=description, console=console, disable=not sys.stderr.isatty())
