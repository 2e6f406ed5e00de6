"""From requests to figures, the plan of the steps, and the gate."""

from __future__ import annotations

import json
import random
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests import gate, texts
from loadtests.job import Job, job_in
from loadtests.legs import leg_of, percentile, read_leg
from loadtests.machine import Cores, on_cores, pinned, split_cores, yardstick
from loadtests.plan import Limits, Steps, first_rate, next_rate, saturation
from loadtests.records import ERROR, OK, REJECTED, judge, read_records, write_records
from loadtests.texts import Request
from tests.loadtests.made import found, leg, record
from tests.loadtests.stub import empty, good, misplaced

TEXT = "Köln am Rhein"


def answer(**changes: Any) -> bytes:
    result = good({"text": TEXT, "model": "student"})[1]["results"][0] | changes
    return json.dumps({"results": [result]}).encode()


@pytest.mark.parametrize(
    ("status", "body", "outcome", "fault"),
    [
        (200, answer(), OK, ""),
        (429, b"", REJECTED, ""),
        (503, b'{"error": {"code": "not_ready"}}', ERROR, "status 503"),
        (200, b"<html>", ERROR, "out of contract: JSONDecodeError"),
        (200, b'{"answers": []}', ERROR, "out of contract: KeyError"),
        (200, b'{"results": []}', ERROR, "0 results for 1 texts"),
        (200, answer(model="teacher"), ERROR, "asked for student, answered by teacher"),
        (200, json.dumps(misplaced({"text": TEXT, "model": "student"})[1]).encode(), ERROR, "do not slice"),
    ],
)
def test_an_answer_is_judged(status: int, body: bytes, outcome: str, fault: str) -> None:
    verdict = judge(Request("short", (TEXT,)), model="student", status=status, body=body)
    assert verdict.outcome == outcome and fault in verdict.fault and bool(fault) == bool(verdict.fault)


def test_a_good_answer_counts_fallbacks_and_texts_without_entities() -> None:
    results = [
        *json.loads(answer(model="teacher", fallback="low_confidence"))["results"],
        *empty({"text": TEXT, "model": "student"})[1]["results"],
        *json.loads(answer(declined="budget"))["results"],
    ]
    body = json.dumps({"results": results}).encode()
    verdict = judge(Request("bulk", (TEXT,) * 3), model="auto", status=200, body=body)
    assert (verdict.outcome, verdict.empty) == (OK, 1)
    assert verdict.fallbacks == {"low_confidence": 1} and verdict.declined == {"budget": 1}


def test_latency_counts_from_when_a_request_was_due_and_the_lead_does_not_count() -> None:
    records = [
        record(-0.5, 0.6),  # of the lead, answered in the window: achieved, but no latency of it counts
        record(0.0, 0.2, late=0.15),
        record(1.0, 0.4, fallbacks={"low_confidence": 1}, kind="page"),
        record(1.5, 0.0, outcome=REJECTED),
        record(1.9, 0.3),  # answered after the window
    ]
    measured = leg_of(records, model="auto", rate=2.0, round_number=1, seconds=2.0, generator_cpu=0.5, pause=0.0)
    assert (measured.requests, measured.rejected, measured.errors) == (4, 1, 0)
    assert (measured.offered, measured.achieved) == (2.0, 1.5)
    assert measured.words_per_second == 6.0 and measured.overall.requests == 3
    assert [measured.overall.p50, measured.overall.p99] == pytest.approx([300, 400])
    assert measured.kinds["page"].p95 == pytest.approx(400) and measured.kinds["bulk"].requests == 0
    assert measured.fallback_share == pytest.approx(1 / 3) and measured.sent_late == pytest.approx(150)


def test_errors_of_the_lead_count() -> None:
    records = [record(-0.5, 0.1, outcome=ERROR), record(0.5, 0.1)]
    measured = leg_of(records, model="auto", rate=1.0, round_number=1, seconds=1.0, generator_cpu=0.5, pause=0.0)
    assert measured.errors == 1 and measured.faults == {"broken": 1}


def test_records_survive_their_file(tmp_path: Path) -> None:
    records = [record(-0.25, 0.5, fallbacks={"student_error": 2}), record(0.5, 0.125, outcome=ERROR, kind="bulk")]
    write_records(tmp_path / "leg_requests.csv", reversed(records))
    assert read_records(tmp_path / "leg_requests.csv") == records
    (tmp_path / "leg_generator.json").write_text('{"generator_cpu": 0.25, "pause": 0.5}')
    measured = read_leg(tmp_path / "leg", model="student", rate=3.0, round_number=2, seconds=1.0)
    assert (measured.generator_cpu, measured.pause, measured.errors, measured.round) == (0.25, 0.5, 1, 2)


def test_percentiles_are_nearest_ranks() -> None:
    values = [float(number) for number in range(1, 101)]
    assert [percentile(values, percent) for percent in (50, 95, 99)] == [50, 95, 99]
    assert percentile([7.0], 99) == 7.0 and percentile([], 50) == 0.0


def test_a_job_travels_and_its_arrivals_are_the_same_for_every_model() -> None:
    job = Job("student", 40.0, 0.5, 2.0, "0-1", "/tmp/x")
    assert job_in(job.variables()) == job
    due = job.arrivals()
    assert due == Job("teacher", 40.0, 0.5, 2.0, "0-1", "/tmp/y").arrivals() == sorted(due)
    assert len([at for at in due if at < 0]) == 20 and len([at for at in due if 0 <= at < 2]) == 80
    assert due != Job("student", 40.0, 0.5, 2.0, "0-2", "/tmp/x").arrivals()


def test_saturation() -> None:
    limits = Limits()
    assert saturation(leg(rate=100), limits) == ""
    assert "under 95 %" in saturation(leg(rate=100, rejected=10), limits)
    assert "p99 over 1000 ms" in saturation(leg(rate=100, latency=1.5), Limits(achieved_share=0.0))
    assert saturation(leg(rate=100, errors=1), limits) == "1 errors"
    assert saturation(leg(rate=20, count=20, rejected=4), limits) == ""  # so few may be chance
    assert saturation(leg(rate=20, count=20, rejected=5), limits) != ""


def test_a_step_is_saturated_if_most_of_its_rounds_are() -> None:
    good, bad = leg(rate=100), leg(rate=100, rejected=50)
    assert found(good, bad).points[0].saturated(Limits()) == ""
    assert found(good, bad, bad).points[0].saturated(Limits()) == "achieved under 95 % of offered"


@given(
    capacity=st.floats(0.5, 50_000),
    throughput=st.floats(0.3, 3),
    factor=st.sampled_from([1.5, 2.0, 3.0]),
    precision=st.sampled_from([1.1, 1.25, 1.5]),
)
def test_the_steps_close_in_on_the_capacity(
    capacity: float, throughput: float, factor: float, precision: float
) -> None:
    steps = Steps(factor, precision, most=40)
    tried: dict[float, bool] = {}
    first = first_rate([capacity * throughput, capacity * 10])
    while (rate := next_rate(tried, first, steps)) is not None:
        assert rate not in tried and rate > 0
        tried[rate] = rate > capacity
    low = max(rate for rate, is_over in tried.items() if not is_over)
    high = min(rate for rate, is_over in tried.items() if is_over)
    # Rates have two digits, so the gap may stay a little wider than asked for.
    assert low <= capacity < high and high / low <= max(precision, 1.25)


def test_the_steps_have_an_end() -> None:
    assert next_rate({1.0: False, 2.0: False}, 1.0, Steps(most=2)) is None


def test_errors_fail_the_gate_and_rejections_only_those_of_fixed_users() -> None:
    assert gate.errors([leg(), leg(rate=100, rejected=50)]) == []
    (line,) = gate.errors([leg(rate=100, errors=3)])
    assert line == "student, 100 requests/s, round 1: 3 errors, such as: broken"
    assert "rejected" in gate.errors([leg(rejected=1)])[0]
    assert "no request was answered" in gate.errors([leg(rate=9, rejected=100)])[0]
    silent = [record(0.1, 0.1, empty=1)]
    mute = leg_of(silent, model="auto", rate=1, round_number=1, seconds=1, generator_cpu=0, pause=0)
    assert "no answer had an entity" in gate.errors([mute])[0]


def test_a_regression_must_show_in_every_round() -> None:
    def ratios(*latencies: float) -> dict[str, Any]:
        legs = [leg("student", number=n, latency=latency) for n, latency in enumerate(latencies)]
        legs += [leg("teacher", number=n, latency=0.020) for n, _ in enumerate(latencies)]
        return gate.figures(found(*legs), {("student", n): 5.0 for n, _ in enumerate(latencies)})

    before = ratios(0.010, 0.010)
    assert {name: round(one.median, 6) for name, one in before.items()} == {
        "p95, student : teacher": 0.5,
        "p95, student : yardstick": 2.0,
    }
    setup = {"users": 8}
    baseline = {"setup": setup, "figures": {name: one.median for name, one in before.items()}}

    def compare(own: dict[str, Any]) -> tuple[list[str], list[str]]:
        return gate.compare(own, baseline, setup=setup, tolerance=1.5)

    assert compare(ratios(0.010, 0.100)) == ([], [])  # one bad round is the machine
    regressions, _ = compare(ratios(0.016, 0.100))
    assert len(regressions) == 2 and "0.80 in the best round, over 1.5 times the baseline's 0.50" in regressions[0]
    regressions, notes = compare({"p95, student : teacher": before["p95, student : teacher"]})
    assert regressions == [] and notes == ["not measured in this run, so not compared: p95, student : yardstick"]
    regressions, notes = gate.compare(ratios(9.0), baseline, setup={"users": 4}, tolerance=1.5)
    assert regressions == [] and "not compared" in notes[0]


def test_a_baseline_survives_its_file(tmp_path: Path) -> None:
    own = gate.figures(found(leg("student"), leg("teacher", latency=0.02)), {})
    facts = {"date": "today", "machine": "this", "command": "it", "bundles": "some"}
    gate.write_baseline(tmp_path / "baseline.json", own, setup={"users": 8}, facts=facts)
    baseline = gate.read_baseline(tmp_path / "baseline.json")
    assert gate.compare(own, baseline, setup={"users": 8}, tolerance=1.5) == ([], [])
    assert baseline["made"] == {"date": "today", "machine": "this", "command": "it"}


def test_a_busy_or_stopped_generator_is_named() -> None:
    assert gate.warnings(found(leg(cpu=0.89))) == []
    assert "used 95 % of a core" in gate.warnings(found(leg(cpu=0.2), leg(cpu=0.95, number=2)))[0]
    assert "stood still for 2.5 s" in gate.warnings(found(leg(rate=8, pause=2.5)))[0]
    assert "over 30 ms late" in gate.warnings(found(replace(leg(rate=8), sent_late=30.0)))[0]


def test_medians_sustained_rates_and_ratios() -> None:
    findings = found(
        *[leg("student", latency=0.01, number=n, count=count) for n, count in enumerate((80, 100, 200))],
        leg("teacher", latency=0.03, count=50),
        leg("student", 50, latency=0.01, count=50),
        leg("student", 100, latency=0.02),
        leg("student", 200, rejected=50),
        leg("teacher", 50, latency=0.04, count=50),
        leg("teacher", 100, rejected=50),
    )
    student, teacher = findings.fixed
    assert student.over(lambda one: one.achieved).text() == "100 (80..200)" and student.model == "student"
    assert teacher.over(lambda one: one.achieved).text() == "50"
    best = findings.sustained("student")
    assert best is not None and best.rate == 100 and findings.was_saturated("student")
    assert findings.common_rate() == 50
    fixed, steps, top = findings.ratios()
    assert "2.00 times the requests/s, 3.00 times faster at p50" in fixed
    assert steps == "Student against teacher, at 50 requests/s offered: 4.00 times faster at p50 and 4.00 times at p95."
    assert top == "Highest rate sustained: the student's is 2.00 times the teacher's."


def test_cores_are_split_and_given_back() -> None:
    cores = split_cores()
    if cores is None:
        pytest.skip("this system has no affinity")
    assert cores.service and len(cores.generator) == 1
    import os

    before = os.sched_getaffinity(0)
    with on_cores(cores.generator):
        assert os.sched_getaffinity(0) == set(cores.generator)
    assert os.sched_getaffinity(0) == before
    assert yardstick(cores.service, repeats=1) > 0
    assert "0,1" in pinned((0, 1), ["-V"]) and len(pinned(None, ["-V"])) == 2
    assert "share" in Cores((0,), (0,)).text() and "2 of them" in Cores((0, 1), (2,)).text()


def test_texts_cover_languages_and_scripts() -> None:
    assert set(texts.QUERIES) == set(texts.SENTENCES) and len(texts.SENTENCES) >= 12
    everything = [text for part in (texts.QUERIES, texts.SENTENCES) for several in part.values() for text in several]
    assert all(text.strip() == text and text for text in everything)
    assert len(set(everything)) == len(everything)
    scripts = {unicodedata.name(char).split()[0] for text in everything for char in text if char.isalpha()}
    wanted = "LATIN CYRILLIC GREEK ARABIC HEBREW DEVANAGARI BENGALI TAMIL CJK HIRAGANA KATAKANA HANGUL THAI".split()
    assert scripts >= set(wanted)


def test_the_mixture_keeps_its_shares_and_is_the_same_for_every_model() -> None:
    drawn = texts.mixture(200, random.Random("0-1"))
    assert drawn == texts.mixture(200, random.Random("0-1"))
    kinds = [request.kind for request in drawn]
    assert {kind: kinds.count(kind) for kind in texts.MIX} == {"short": 70, "sentence": 90, "page": 24, "bulk": 16}
    assert kinds != sorted(kinds) and len(texts.mixture(7, random.Random(0))) == 7
    for request in drawn:
        body = request.body("student")
        assert ("text" in body) != ("texts" in body)
        assert all(request.texts) and len(request.texts) > (3 if request.kind == "bulk" else 0)


def test_words() -> None:
    assert texts.words("Angela Merkel in Köln") == 4
    assert texts.words("北京大学 Beijing") == 3
