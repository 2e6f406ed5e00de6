"""A supervisor with processes that do as they are told: `python toy_processes.py FOLDER SECONDS BEHAVIOUR...`.

Each behaviour is of one place. A process notes what happens to it in FOLDER, one file a place, one line a thing.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

from service.processes import BEAT, FAILED, PASSED_ON, StartFailed, Supervisor


def toy(file: Path, behaviour: str, report: Connection) -> None:
    first = not file.exists()

    def note(line: str) -> None:
        with file.open("a", encoding="utf-8") as log:
            log.write(line + "\n")

    def stop(*_: object) -> None:
        note("stop")
        if behaviour != "stay":
            raise SystemExit

    signal.signal(signal.SIGHUP, lambda *_: note("reload"))
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    note(f"start {os.getpid()}")
    if behaviour == "fail" or (behaviour == "fail-later" and not first):
        os.write(report.fileno(), FAILED + b"no b\xc3\xbcndle")
        raise SystemExit(1)
    while behaviour == "wait" and not (file.parent / "go").exists():
        time.sleep(0.02)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
    os.write(report.fileno(), BEAT)
    note("serve")  # only now: a parent that has heard nothing kills at once
    while True:
        os.write(report.fileno(), BEAT)
        if first and behaviour == "hang":
            time.sleep(60)
        if first and behaviour in ("end", "fail-later"):
            os._exit(7)
        time.sleep(0.05)


def main(folder: str, seconds: str, *behaviours: str) -> int:
    spawned = multiprocessing.get_context("spawn")

    def start(place: int, report: Connection) -> multiprocessing.Process:
        file = Path(folder) / f"{place}.log"
        return spawned.Process(target=toy, args=(file, behaviours[place], report), daemon=True)

    supervisor = Supervisor(
        start, count=len(behaviours), listeners=[], stop_seconds=float(seconds), hang_seconds=float(seconds)
    )
    try:
        supervisor.run()
    except StartFailed as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
