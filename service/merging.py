"""Merging: the metrics of several processes as those of one server."""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from prometheus_client import Metric, generate_latest
from prometheus_client.registry import Collector

Combine = Callable[[float, float], float]

GAUGES: Mapping[str, Combine] = {
    "onoma_breaker_open": max,
    "onoma_in_flight_requests": operator.add,
    "onoma_processes": operator.add,  # each says 1
    "onoma_processes_configured": max,
    "onoma_queue_tokens": operator.add,
    "onoma_queue_windows": operator.add,
    "onoma_ready": min,
    "process_max_fds": operator.add,  # as its counterpart is: their ratio is what one watches
    "process_open_fds": operator.add,
    "process_resident_memory_bytes": operator.add,
    "process_start_time_seconds": min,
    "process_virtual_memory_bytes": operator.add,
    "python_info": max,
}
"""What becomes of each gauge; counters and histograms are added up, infos stand side by side."""


def pack(families: Iterable[Metric]) -> bytes:
    """Metrics as one process hands them to another."""
    plain = [
        [family.name, family.documentation, family.type, [[one.name, one.labels, one.value] for one in family.samples]]
        for family in families
    ]
    return json.dumps(plain).encode("ascii")


def unpack(data: bytes) -> list[Metric]:
    """The reverse of `pack`.

    :raises ValueError: if that is not all of it.
    """
    families = []
    for name, documentation, kind, samples in json.loads(data):
        family = Metric(name, documentation, kind)
        for sample in samples:
            family.add_sample(*sample)
        families.append(family)
    return families


def merge(processes: Iterable[Iterable[Metric]]) -> list[Metric]:
    """One family of each name; its samples are in the order in which they first come."""
    merged: dict[str, Metric] = {}
    values: dict[str, dict[tuple[str, ...], float]] = {}
    labels: dict[tuple[str, ...], dict[str, str]] = {}
    for families in processes:
        for family in families:
            merged.setdefault(family.name, Metric(family.name, family.documentation, family.type))
            own = values.setdefault(family.name, {})
            combine = _combine(family)
            for sample in family.samples:
                key = (sample.name, *sample.labels.values())
                labels[key] = sample.labels
                own[key] = combine(own[key], sample.value) if key in own else sample.value
    for name, family in merged.items():
        for key, value in values[name].items():
            family.add_sample(key[0], labels[key], value)
    return list(merged.values())


def _combine(family: Metric) -> Combine:
    if family.type == "info":
        return max
    return GAUGES.get(family.name, operator.add) if family.type == "gauge" else operator.add


def render(families: Sequence[Metric]) -> bytes:
    """Metrics in Prometheus' text format."""
    return generate_latest(_Fixed(families))


class _Fixed(Collector):
    def __init__(self, families: Sequence[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        return iter(self._families)
