"""Prometheus' rules and Grafana's dashboard: every query is PromQL and asks for metrics, types and labels that exist.

`docker/verify.sh` asks the same of a real Prometheus. ONOMA_SCHEMAS names a folder with Grafana's own schemas (those in
jsonschema/ of grafana/grafana-foundation-sdk); without it that test is skipped.
"""

from __future__ import annotations

import json
import os
import re
from itertools import combinations
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from service.merging import GAUGES
from service.metrics import STAGES, Metrics
from service.settings import Settings
from tests.docker.promql import kept, selectors

ROOT = Path(__file__).resolve().parents[2]
PROMETHEUS, GRAFANA = ROOT / "docker" / "prometheus", ROOT / "docker" / "grafana"
TARGET = {"job", "instance"}  # labels that Prometheus gives everything it scrapes
OTHERS = {"up": TARGET, "ALERTS": {*TARGET, "alertname", "alertstate"}}
UNITS = {"short", "s", "bytes", "percentunit", "reqps"}


def families() -> dict[str, tuple[str, set[str]]]:
    """Type and labels of every series that /metrics has, by its name."""
    metrics = Metrics()
    labels = {}
    for one in vars(metrics).values():
        names = getattr(one, "_labels", None) or getattr(one, "_labelnames", None)
        if names is not None and hasattr(one, "describe"):
            labels[next(iter(one.describe())).name] = set(names)
    found = {name: ("gauge", known) for name, known in OTHERS.items()}
    for family in metrics.registry.collect():
        own = labels.get(family.name, set()) | TARGET
        if family.type == "histogram":
            found |= {family.name + end: ("histogram", own) for end in ("_sum", "_count")}
            found[f"{family.name}_bucket"] = ("histogram", own | {"le"})
        else:
            found[family.name + ("_total" if family.type == "counter" else "")] = (family.type, own)
    return found


def rules(kind: str) -> list[dict[str, Any]]:
    """The rules of a kind: "record" or "alert"."""
    loaded = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8"))
    return [
        rule
        for file in loaded["rule_files"]
        for group in yaml.safe_load((PROMETHEUS / file).read_text(encoding="utf-8"))["groups"]
        for rule in group["rules"]
        if kind in rule
    ]


def level(record: str) -> set[str]:
    """The labels that a recorded series has, which its name begins with."""
    return {"job"} | set(record.split(":")[0].split("_"))


def dashboards() -> list[dict[str, Any]]:
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted((GRAFANA / "dashboards").glob("*.json"))]


def panels() -> list[dict[str, Any]]:
    return [panel for dashboard in dashboards() for panel in dashboard["panels"]]


def queries() -> list[str]:
    """Every query: of rules, alerts, panels and annotations."""
    of_panels = [target["expr"] for panel in panels() for target in panel.get("targets", [])]
    of_annotations = [one["expr"] for dashboard in dashboards() for one in dashboard["annotations"]["list"]]
    return [rule["expr"] for kind in ("record", "alert") for rule in rules(kind)] + of_panels + of_annotations


def test_there_is_something_to_test() -> None:
    assert len(queries()) > 60


@pytest.mark.parametrize("query", queries())
def test_query_asks_for_what_there_is(query: str) -> None:
    known = families() | {rule["record"]: ("recorded", level(rule["record"])) for rule in rules("record")}
    for one in selectors(query):
        assert one.metric in known, f"no metric {one.metric}"
        kind, labels = known[one.metric]
        assert one.labels <= labels, f"{one.metric} has the labels {labels}, asked for {one.labels}"
        rated = bool({"rate", "increase"} & set(one.functions))
        # The alert on worker deaths compares a counter with itself: its series begins with the first death.
        if one.metric != "onoma_worker_deaths_total":
            assert rated == (kind in ("counter", "histogram")), f"{one.metric} is a {kind}"
        if one.metric.endswith("_bucket"):
            assert "histogram_quantile" in one.functions and "le" in one.labels
        if kind == "gauge" and one.metric not in OTHERS:
            assert one.metric in GAUGES, f"{one.metric} of several processes"


@pytest.mark.parametrize(
    "query",
    [
        "rate(onoma_request_seconds_cuont[5m])",
        "sum by (modle) (rate(onoma_texts_total[5m]))",
        "onoma_texts_total",
        "rate(onoma_queue_tokens[5m])",
        'onoma_queue_tokens{stage="total"}',
        "sum by (le) (rate(onoma_stage_seconds_bucket[5m]))",
    ],
)
def test_a_wrong_query_is_found(query: str) -> None:
    with pytest.raises(AssertionError):
        test_query_asks_for_what_there_is(query)


def test_names_of_recordings_say_their_labels() -> None:
    names = [rule["record"] for rule in rules("record")]
    assert len(set(names)) == len(names)
    for rule in rules("record"):
        if (labels := kept(rule["expr"])) is not None:
            assert labels - {"le"} == level(rule["record"]), rule["record"]


def test_every_recording_is_used() -> None:
    used = {one.metric for query in queries() for one in selectors(query)}
    assert {rule["record"] for rule in rules("record")} <= used


def test_limits_in_rules_are_the_settings() -> None:
    expressions = {rule["record"]: rule["expr"] for rule in rules("record")}
    settings = Settings()
    assert f"({settings.max_queue_tokens} * " in expressions["instance:onoma_queue_tokens:ratio"]
    assert f"({settings.max_in_flight} * " in expressions["instance:onoma_in_flight_requests:ratio"]


def test_alerts_are_explained_and_tested() -> None:
    docs = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
    tests = yaml.safe_load((PROMETHEUS / "alerts_test.yml").read_text(encoding="utf-8"))
    tested = {
        (case["alertname"], bool(case.get("exp_alerts")))
        for test in tests["tests"]
        for case in test.get("alert_rule_test", [])
    }
    names = [rule["alert"] for rule in rules("alert")]
    assert len(names) >= 12 and len(set(names)) == len(names)
    for rule in rules("alert"):
        name = rule["alert"]
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["runbook"] == f"docs/deploy.md#{name.lower()}"
        assert re.search(rf"^#+ {name}\n\n\S", docs, flags=re.MULTILINE), f"{name} is not in docs/deploy.md"
        assert {(name, True), (name, False)} <= tested, f"{name} is not tested both ways"


def test_dashboard_uses_the_provisioned_source() -> None:
    (source,) = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())["datasources"]
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    assert source["url"] == "http://prometheus:9090" and "prometheus" in compose
    wanted = {"type": source["type"], "uid": source["uid"]}
    for dashboard in dashboards():
        lists = [*dashboard["templating"]["list"], *dashboard["annotations"]["list"]]
        assert all(one["datasource"] == wanted for one in lists)
    assert all(panel["datasource"] == wanted for panel in panels() if panel["type"] != "row")
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/onoma.yml").read_text())["providers"]
    mounts = {mount.split(":")[1]: mount.split(":")[0] for mount in compose["grafana"]["volumes"]}
    assert (ROOT / mounts[provider["options"]["path"]]) == GRAFANA / "dashboards"
    assert (ROOT / mounts["/etc/grafana/provisioning"]) == GRAFANA / "provisioning"
    assert provider["allowUiUpdates"] is False and source["editable"] is False


def test_panels_are_distinct_and_described() -> None:
    for dashboard in dashboards():
        ids = [panel["id"] for panel in dashboard["panels"]]
        titles = [panel["title"] for panel in dashboard["panels"]]
        assert len(set(ids)) == len(ids) and len(set(titles)) == len(titles)
    for panel in panels():
        if panel["type"] == "row":
            continue
        assert panel["type"] in ("timeseries", "stat") and panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references) > 0
        for target in panel["targets"]:
            shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            assert shown <= (kept(target["expr"]) or set()), panel["title"]
            assert '{job="$job"' in target["expr"], panel["title"]


def test_panels_do_not_overlap() -> None:
    places = [panel["gridPos"] for panel in panels()]
    for place in places:
        assert place["x"] >= 0 and place["x"] + place["w"] <= 24 and place["w"] > 0 and place["h"] > 0
    for one, other in combinations(places, 2):
        assert (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )


def test_the_dashboard_shows_what_was_asked_for() -> None:
    rows = [panel["title"] for panel in panels() if panel["type"] == "row"]
    assert rows == ["Overview", "Traffic", "Latency", "Cascade", "Batches", "Queue and errors", "Saturation"]
    text = json.dumps(panels())
    assert 'stage=\\"total\\"' in text and "total" in STAGES
    metrics = {one.metric for query in queries() for one in selectors(query)}
    parts = ("_sum", "_count", "_bucket")
    own = {name for name in families() if name.startswith("onoma_") and not name.endswith(parts)}
    assert own - metrics <= {"onoma_model", "onoma_windows_total"}


def test_grafana_takes_the_dashboard() -> None:
    if "ONOMA_SCHEMAS" not in os.environ:
        pytest.skip("ONOMA_SCHEMAS names no folder with dashboard.jsonschema.json")
    schemas = {
        name: json.loads((Path(os.environ["ONOMA_SCHEMAS"]) / f"{name}.jsonschema.json").read_text(encoding="utf-8"))
        for name in ("dashboard", "timeseries", "stat", "prometheus")
    }
    for dashboard in dashboards():
        jsonschema.Draft7Validator(schemas["dashboard"]).validate(dashboard)
    for panel in panels():
        if panel["type"] != "row":
            options = {**schemas[panel["type"]], "$ref": "#/definitions/Options"}
            jsonschema.Draft7Validator(options).validate(panel["options"])
            for target in panel["targets"]:
                jsonschema.Draft7Validator(schemas["prometheus"]).validate(target)
