"""What is known of each request, and the CSV file of a leg that keeps it."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from loadtests.texts import Request

OK, REJECTED, ERROR = "ok", "rejected", "error"


@dataclass(frozen=True, slots=True)
class Verdict:
    """An answer judged against the contract.

    :ivar outcome: OK; REJECTED: 429, the service says that it is overloaded; ERROR: everything else.
    :ivar fault: what is wrong, empty if nothing.
    :ivar empty: texts without an entity.
    :ivar fallbacks: texts that the teacher answered for the student, by reason.
    :ivar declined: texts of low confidence that the teacher did not answer, by reason.
    """

    outcome: str
    fault: str = ""
    empty: int = 0
    fallbacks: dict[str, int] = field(default_factory=dict)
    declined: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Record:
    """One request. Times are seconds from the window's begin; latency is `done - due`, not `done - sent`."""

    kind: str
    due: float
    sent: float
    done: float
    texts: int
    words: int
    verdict: Verdict


def judge(request: Request, *, model: str, status: int, body: bytes) -> Verdict:
    """Check an answer of POST /ner: status, one result a text, the model asked for, offsets that slice the text."""
    if status == 429:
        return Verdict(REJECTED)
    if status != 200:
        return Verdict(ERROR, f"status {status}: {body[:160].decode('utf-8', 'replace')}")
    try:
        return _judge_results(request, json.loads(body)["results"], model)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return Verdict(ERROR, f"answer out of contract: {type(error).__name__}: {error}")


def _judge_results(request: Request, results: list[dict[str, Any]], model: str) -> Verdict:
    if len(results) != len(request.texts):
        return Verdict(ERROR, f"{len(results)} results for {len(request.texts)} texts")
    empty = 0
    fallbacks: dict[str, int] = {}
    declined: dict[str, int] = {}
    for text, result in zip(request.texts, results, strict=True):
        if model != "auto" and result["model"] != model:
            return Verdict(ERROR, f"asked for {model}, answered by {result['model']}")
        for entity in result["entities"]:
            if not entity["text"] or text[entity["start"] : entity["end"]] != entity["text"]:
                return Verdict(ERROR, "an entity's offsets do not slice its text")
        empty += not result["entities"]
        for counts, reason in ((fallbacks, result["fallback"]), (declined, result.get("declined"))):
            if reason:
                counts[reason] = counts.get(reason, 0) + 1
    return Verdict(OK, "", empty, fallbacks, declined)


_COLUMNS = [one.name for part in (Record, Verdict) for one in fields(part) if one.name != "verdict"]


def write_records(path: Path, records: Iterable[Record]) -> None:
    """Write a CSV file with a line for each request, in the order in which they were due."""
    with path.open("w", encoding="utf-8", newline="") as file:
        lines = csv.DictWriter(file, _COLUMNS)
        lines.writeheader()
        for record in sorted(records, key=lambda one: one.due):
            row = asdict(record)
            row |= row.pop("verdict")
            row |= {name: f"{row[name]:.6f}" for name in ("due", "sent", "done")}
            row |= {name: json.dumps(row[name]) if row[name] else "" for name in ("fallbacks", "declined")}
            lines.writerow(row)


def read_records(path: Path) -> list[Record]:
    """Read what `write_records` wrote."""
    with path.open(encoding="utf-8", newline="") as file:
        return [
            Record(
                kind=row["kind"],
                due=float(row["due"]),
                sent=float(row["sent"]),
                done=float(row["done"]),
                texts=int(row["texts"]),
                words=int(row["words"]),
                verdict=Verdict(
                    outcome=row["outcome"],
                    fault=row["fault"],
                    empty=int(row["empty"]),
                    fallbacks=json.loads(row["fallbacks"] or "{}"),
                    declined=json.loads(row["declined"] or "{}"),
                ),
            )
            for row in csv.DictReader(file)
        ]
