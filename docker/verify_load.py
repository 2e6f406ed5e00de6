"""Load while something happens to the service: is every request that it accepted answered?

    python3 docker/verify_load.py HOST:PORT COMMAND...      COMMAND runs once the load is there, and ends the load

Ask the container's own address: before a published port stands Docker's proxy, which accepts what the service does not.
Needs nothing but Python. The exit status is 1 if a request was lost, or if no request was under way when COMMAND began.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

CONNECTIONS = 12
TEXTS = ["Angela Merkel visited Siemens in München before she flew to Nairobi. " * 4] * 24
WARM_SECONDS = 3.0


@dataclass
class Tally:
    """What became of the requests."""

    outcomes: Counter[str] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    spans: list[tuple[float, float]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, outcome: str, began: float, problem: str = "") -> None:
        """Count a request."""
        with self.lock:
            self.outcomes[outcome] += 1
            if outcome == "answered":
                self.spans.append((began, time.monotonic()))
            if problem:
                self.lost.append(problem)


def ask(connection: http.client.HTTPConnection, body: bytes, *, keep: bool) -> str:
    """Send one request on an open connection and read all of its answer: "answered" or "turned away"."""
    headers = {"content-type": "application/json", "connection": "keep-alive" if keep else "close"}
    connection.request("POST", "/ner", body, headers)
    answer = connection.getresponse()
    data = answer.read()
    if answer.status == 200:
        assert len(json.loads(data)["results"]) == len(TEXTS), "an answer has too few results"
        return "answered"
    if answer.status in (429, 503):
        return "turned away"
    raise AssertionError(f"status {answer.status}: {data[:200]!r}")


def user(address: str, tally: Tally, over: threading.Event, *, keep: bool) -> None:
    """Ask again and again: on one connection while it lasts, or on a new one each time."""
    body = json.dumps({"texts": TEXTS, "model": "student"}).encode()
    connection: http.client.HTTPConnection | None = None
    while not over.is_set():
        began = time.monotonic()
        used = connection is not None
        if connection is None:
            connection = http.client.HTTPConnection(address, timeout=60)
            try:
                connection.connect()
            except OSError:
                tally.note("refused", began)
                connection = None
                time.sleep(0.05)
                continue
        try:
            tally.note(ask(connection, body, keep=keep), began)
        except (OSError, http.client.HTTPException) as error:
            # HTTP lets a server close a connection that is idle; a request that crosses with that was not accepted.
            if used and isinstance(error, http.client.RemoteDisconnected | ConnectionResetError | BrokenPipeError):
                tally.note("closed while idle", began)
            else:
                tally.note("lost", began, f"{type(error).__name__}: {error}")
            connection.close()
            connection = None
            continue
        if not keep or connection.sock is None:
            connection.close()
            connection = None


def main(address: str, command: list[str]) -> int:
    """Load, run the command, report."""
    tally, over = Tally(), threading.Event()
    users = [
        threading.Thread(target=user, args=(address, tally, over), kwargs={"keep": number % 2 == 0})
        for number in range(CONNECTIONS)
    ]
    for one in users:
        one.start()
    time.sleep(WARM_SECONDS)
    at = time.monotonic()
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    took = time.monotonic() - at
    over.set()
    for one in users:
        one.join()
    crossing = sum(began < at < ended for began, ended in tally.spans)
    later = sum(began >= at for began, ended in tally.spans)
    print(f"{' '.join(command)}: status {done.returncode} after {took:.1f} s")
    print(f"requests: {dict(tally.outcomes)}; answered and under way when it began: {crossing}, begun later: {later}")
    for problem in tally.lost[:5]:
        print(f"  lost: {problem}")
    if done.returncode or not crossing:
        print(done.stderr or "no request was under way")
        return 1
    return 1 if tally.lost else 0


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1], sys.argv[2:]))
