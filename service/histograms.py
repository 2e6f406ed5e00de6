"""Histograms that cost a list append to observe, for what happens many times in every request.

prometheus_client's take a lock and walk the buckets for each value, a tenth of the time of a short request. These keep
the values and sort them into buckets many at once, when somebody reads them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

_KEPT = 4096  # values of one series until they are counted; more would be memory, fewer time


class Series:
    """The values of one combination of labels."""

    def __init__(self, edges: NDArray[np.float64]) -> None:
        self._edges = edges
        self._counts = np.zeros(len(edges) + 1, dtype=np.int64)
        self._sum = 0.0
        self._values: list[float] = []
        self._lock = threading.Lock()

    def observe(self, value: float) -> None:
        """Note a value; from any thread."""
        self._values.append(value)
        if len(self._values) >= _KEPT:
            self.read()

    def read(self) -> tuple[NDArray[np.int64], float]:
        """How many values lie in each bucket (K + 1,), and their sum."""
        with self._lock:
            # The list itself stays, so that a value noted by another thread meanwhile is in what is left of it.
            count = len(self._values)
            found = np.array(self._values[:count], dtype=np.float64)
            del self._values[:count]
            self._counts += np.bincount(self._edges.searchsorted(found), minlength=len(self._counts))
            self._sum += float(found.sum())
            return self._counts.copy(), self._sum


class Histogram(Collector):
    """A histogram metric.

    :param buckets: upper bounds, ascending, without infinity.
    """

    def __init__(
        self,
        name: str,
        documentation: str,
        labels: Sequence[str],
        *,
        buckets: Sequence[float],
        registry: CollectorRegistry,
    ) -> None:
        self._name, self._documentation, self._labels = name, documentation, tuple(labels)
        self._edges = np.array(buckets, dtype=np.float64)
        self._bounds = [*map(floatToGoString, buckets), "+Inf"]
        self._series: dict[tuple[str, ...], Series] = {}
        registry.register(self)

    def labels(self, *values: str) -> Series:
        """The series of these label values, in the order of the names."""
        if (series := self._series.get(values)) is None:
            if len(values) != len(self._labels):
                raise ValueError(f"{self._name} has the labels {self._labels}, got {values}")
            series = self._series.setdefault(values, Series(self._edges))
        return series

    def describe(self) -> Iterator[HistogramMetricFamily]:
        """What `collect` yields, without values; for the registry."""
        yield HistogramMetricFamily(self._name, self._documentation, labels=self._labels)

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """For the registry, at every scrape."""
        family = HistogramMetricFamily(self._name, self._documentation, labels=self._labels)
        for values, series in list(self._series.items()):
            counts, total = series.read()
            cumulative = counts.cumsum().tolist()
            family.add_metric(values, list(zip(self._bounds, cumulative, strict=True)), sum_value=total)
        yield family
