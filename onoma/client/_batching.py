"""Splitting many texts over requests of bounded size, in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

MOST_BYTES = 3 * 1024 * 1024
"""Most bytes of JSON in a request, under the server's ONOMA_MAX_BODY_BYTES of 4 MiB."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Most texts, characters and bytes of a request; a text that is over them alone goes alone."""

    texts: int
    characters: int
    bytes: int = MOST_BYTES


@dataclass(frozen=True, slots=True)
class Sized(Generic[T_co]):
    """Something to send and what it takes up in a request."""

    item: T_co
    characters: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Batch(Generic[T]):
    """What goes into one request; `first` is the position of its first item among all."""

    first: int
    items: list[T]


class Batcher(Generic[T]):
    """Takes one item after the other and gives a batch as soon as it is full; holds one batch at most."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._first = 0
        self._start_anew()

    def add(self, one: Sized[T]) -> Iterator[Batch[T]]:
        """Take one more; gives the batches that are full by it."""
        if self._items and not self._fits(one.characters, one.bytes):
            yield self._take()
        self._items.append(one.item)
        self._characters += one.characters
        self._bytes += one.bytes
        if len(self._items) >= self._limits.texts or not self._fits(1, 1):
            yield self._take()

    def rest(self) -> Iterator[Batch[T]]:
        """The last batch, if anything is left."""
        if self._items:
            yield self._take()

    def _fits(self, characters: int, size: int) -> bool:
        return (
            self._characters + characters <= self._limits.characters and self._bytes + size <= self._limits.bytes
        )

    def _take(self) -> Batch[T]:
        batch = Batch(self._first, self._items)
        self._first += len(self._items)
        self._start_anew()
        return batch

    def _start_anew(self) -> None:
        self._items: list[T] = []
        self._characters = 0
        self._bytes = 0


def batches(items: Iterable[Sized[T]], limits: Limits) -> Iterator[Batch[T]]:
    """The batches of all items."""
    batcher: Batcher[T] = Batcher(limits)
    for one in items:
        yield from batcher.add(one)
    yield from batcher.rest()
