"""The metrics of several processes as those of one."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.merging import GAUGES, merge, pack, render, unpack
from service.metrics import Metrics

Samples = dict[tuple[str, ...], float]


def busy(*, requests: int, model: str = "student", **gauges: float) -> Metrics:
    metrics = Metrics()
    metrics.watch_queue(model, lambda: (requests, 10 * requests))
    metrics.watch_requests(lambda: requests)
    for number in range(requests):
        metrics.answered(model, characters=10, windows=1, labels=["PER"])
        metrics.requests.labels("/ner", "200").observe(0.004 if number % 2 else 3.0)
    metrics.model.labels(model=model).info({"name": f"tiny-{model}"})
    for name, value in gauges.items():
        getattr(metrics, name).set(value)
    return metrics


def merged(*processes: Metrics) -> str:
    return render(merge(one.registry.collect() for one in processes)).decode()


def samples(text: str) -> Samples:
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, *sample.labels.values())
            assert key not in found, f"{key} is there twice"
            found[key] = sample.value
    return found


def steady(text: str) -> list[str]:
    """Without what is another thing at each look."""
    return [line for line in text.splitlines() if not line.startswith(("process_", "python_gc_"))]


def test_of_one_process_nothing_changes() -> None:
    metrics = busy(requests=5)
    assert steady(merged(metrics)) == steady(metrics.render().decode())


def test_what_is_packed_is_unpacked() -> None:
    metrics = busy(requests=5, ready=float("nan"), breaker_open=float("inf"))
    (families,) = [unpack(pack(metrics.registry.collect()))]
    assert steady(render(families).decode()) == steady(metrics.render().decode())


@pytest.mark.parametrize("cut", [0, 1, 1000, -1])
def test_half_an_answer_is_none(cut: int) -> None:
    with pytest.raises(ValueError):
        unpack(pack(Metrics().registry.collect())[:cut])


def test_counters_and_histograms_add_up() -> None:
    found = samples(merged(busy(requests=5), busy(requests=2), busy(requests=3, model="teacher")))
    assert found["onoma_texts_total", "student"] == 7
    assert found["onoma_texts_total", "teacher"] == 3
    assert found["onoma_entities_total", "PER", "student"] == 7
    assert found["onoma_request_seconds_count", "/ner", "200"] == 10
    assert found["onoma_request_seconds_sum", "/ner", "200"] == pytest.approx(6 * 3.0 + 4 * 0.004)
    bounds = [key[2] for key in found if key[0] == "onoma_request_seconds_bucket"]
    assert len(bounds) > 10 and list(map(float, bounds)) == sorted(map(float, bounds))
    buckets = {key[2]: value for key, value in found.items() if key[0] == "onoma_request_seconds_bucket"}
    assert (buckets["0.003"], buckets["0.005"], buckets["2.5"], buckets["+Inf"]) == (0, 4, 4, 10)


def test_gauges_have_their_own_rules() -> None:
    one = busy(requests=5, ready=1, breaker_open=0, processes_configured=2)
    other = busy(requests=2, ready=0, breaker_open=1, processes_configured=2)
    found = samples(merged(one, other))
    alone = samples(merged(one))
    assert found["onoma_queue_windows", "student"] == found["onoma_in_flight_requests",] == 7
    assert found["onoma_queue_tokens", "student"] == 70
    assert found["onoma_ready",] == 0 and found["onoma_breaker_open",] == 1
    assert found["onoma_processes",] == found["onoma_processes_configured",] == 2
    assert found["process_start_time_seconds",] == alone["process_start_time_seconds",]
    assert found["process_resident_memory_bytes",] > 1.5 * alone["process_resident_memory_bytes",]
    assert {value for key, value in found.items() if key[0] == "python_info"} == {1}


def test_infos_stand_side_by_side() -> None:
    found = samples(merged(busy(requests=1), busy(requests=1), busy(requests=1, model="teacher")))
    infos = {key: value for key, value in found.items() if key[0] == "onoma_model_info"}
    assert infos == {
        ("onoma_model_info", "student", "tiny-student"): 1,
        ("onoma_model_info", "teacher", "tiny-teacher"): 1,
    }


def test_somebody_has_thought_about_every_gauge() -> None:
    assert {family.name for family in Metrics().registry.collect() if family.type == "gauge"} == set(GAUGES)
