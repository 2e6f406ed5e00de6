"""Send traffic of every kind to a running service, and ask a real Prometheus all that panels, rules and alerts ask.

    python3 docker/verify_monitoring.py --service http://127.0.0.1:8000 --prometheus http://127.0.0.1:9090

Fails on a query that Prometheus refuses, on one without a result where there must be one, and on a rule that Prometheus
does not have, or that it evaluated with an error. Needs nothing but Python.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

DASHBOARDS = Path(__file__).resolve().parent / "grafana" / "dashboards"
JOB = "onoma"

MAY_BE_EMPTY = ("onoma_worker_deaths_total",)
"""A query that names one of these has no result while nothing bad has happened."""

REQUESTS = (
    ("/ner", {"text": "Angela Merkel visited Siemens in München."}, 200),
    ("/ner", {"text": "Wangari Maathai alizaliwa Nyeri.", "model": "student"}, 200),
    ("/ner", {"texts": ["東京は日本の首都です。", "Лев Толстой родился в Ясной Поляне."] * 8, "model": "teacher"}, 200),
    ("/ner", {"text": 7}, 422),
    ("/ner/stream", {"text": "Nelson Mandela lived in Soweto."}, 200),
    ("/healthz", None, 200),
    ("/readyz", None, 200),
)


def send(service: str, path: str, body: Any, expected: int) -> None:
    """Send a request and check its status."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(service + path, data=data, headers={"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            status = answer.status
            answer.read()
    except urllib.error.HTTPError as error:
        status = error.code
    assert status == expected, f"{path}: status {status}, not {expected}"


class Prometheus:
    """Its HTTP API."""

    def __init__(self, url: str) -> None:
        self._url = url

    def get(self, path: str, **parameters: str) -> Any:
        """The data of an answer; an error of Prometheus is a ValueError."""
        url = f"{self._url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise ValueError(f"{error.code}: {error.read().decode()}") from None

    def values(self, query: str) -> list[float]:
        """The values of an instant query, NaN left out."""
        found = [float(one["value"][1]) for one in self.get("query", query=query)["result"]]
        return [value for value in found if value == value]

    def rules(self) -> list[dict[str, Any]]:
        """Every rule it has loaded."""
        return [rule for group in self.get("rules")["groups"] for rule in group["rules"]]


def panel_queries() -> list[tuple[str, str]]:
    """(dashboard: panel, query) of every target and every variable, with the variables filled in."""
    found = []
    for path in sorted(DASHBOARDS.glob("*.json")):
        dashboard = json.loads(path.read_text(encoding="utf-8"))
        for panel in dashboard["panels"]:
            for target in panel.get("targets", []):
                found.append((f"{path.stem}: {panel['title']}", target["expr"].replace("$job", JOB)))
        for variable in dashboard["templating"]["list"]:
            metric = variable["query"].removeprefix("label_values(").split(",")[0]
            found.append((f"{path.stem}: variable {variable['name']}", metric))
    return found


def judged(prometheus: Prometheus, name: str, query: str) -> str | None:
    """What is wrong with a query, if anything."""
    try:
        values = prometheus.values(query)
    except ValueError as error:
        return f"{name}: {query}: {error}"
    if not values and not any(metric in query for metric in MAY_BE_EMPTY):
        return f"{name}: no result for {query}"
    return None


def check_panels(prometheus: Prometheus) -> list[str]:
    """What is wrong with the panels."""
    return [problem for name, query in panel_queries() if (problem := judged(prometheus, name, query)) is not None]


def check_rules(prometheus: Prometheus) -> list[str]:
    """What is wrong with the rules: errors, recordings without a result, alerts whose series do not exist."""
    problems = []
    rules = prometheus.rules()
    if {rule["type"] for rule in rules} != {"recording", "alerting"}:
        problems.append("Prometheus has not loaded both kinds of rules")
    for rule in rules:
        if rule["health"] != "ok":
            problems.append(f"rule {rule['name']}: {rule['health']} {rule.get('lastError', '')}")
        if rule["type"] == "recording":
            if (problem := judged(prometheus, "rule", rule["name"])) is not None:
                problems.append(problem)
        else:
            prometheus.values(rule["query"])
            if rule["state"] == "firing":
                problems.append(f"alert {rule['name']} fires: {[one['annotations'] for one in rule['alerts']]}")
    return problems


def main() -> int:
    """Send, wait until the data is there, report what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--service", default="http://127.0.0.1:8000")
    parser.add_argument("--prometheus", default="http://127.0.0.1:9090")
    parser.add_argument("--seconds", type=float, default=120.0, help="how long the data may take to be there")
    options = parser.parse_args()
    prometheus = Prometheus(options.prometheus)
    give_up = time.monotonic() + options.seconds
    while True:
        # Traffic goes on meanwhile: a rate needs two scrapes that differ.
        for path, body, expected in REQUESTS * 3:
            send(options.service, path, body, expected)
        problems = check_panels(prometheus) + check_rules(prometheus)
        if not problems or time.monotonic() > give_up:
            break
        time.sleep(3)
    rules = prometheus.rules()
    print(f"{len(panel_queries())} queries of panels and variables, {len(rules)} rules: {len(problems)} problems")
    for problem in problems:
        print(f"  {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
