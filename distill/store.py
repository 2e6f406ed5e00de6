"""Artefacts: results in folders named by the hash of all that went into them.

The same inputs find the same folder, other inputs another one: nothing stale can be picked up. Work in progress lies
in a folder of the same name with `.work`, so that an interrupted run goes on there.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from torch import distributed

from distill.files import write_json

# Goes into every hash: to be raised when the code gives other results for the same inputs.
VERSION = 1
RECORD = "artefact.json"


class Store:
    """A folder of artefacts, shared by recipes and by processes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.reused = 0
        self.made = 0

    def get(
        self, kind: str, facts: dict[str, Any], build: Callable[[Path], None], *, together: bool = False
    ) -> Path:
        """The artefact's folder; `build` fills it, given the folder to write to, if it is not there yet.

        Of several processes that want it one builds, the others wait.

        :param facts: everything the result depends on, as JSON; other artefacts by the names of their folders.
        :param together: in a distributed run every process calls `build` (training); else the first one alone does.
        """
        content = json.dumps([VERSION, kind, facts], sort_keys=True)
        name = f"{kind}-{hashlib.sha256(content.encode()).hexdigest()[:20]}"
        folder, work = self.root / name, self.root / f"{name}.work"
        first, wait = first_process()
        with locked(self.root / "locks" / name) if first else nullcontext():
            wait()
            found = folder.exists()
            wait()
            if found:
                self.reused += 1
                return folder
            work.mkdir(exist_ok=True)
            if first or together:
                build(work)
            wait()
            if first:
                write_json(work / RECORD, {"kind": kind, "facts": facts})
                work.rename(folder)
            wait()
            self.made += 1
        return folder


def first_process() -> tuple[bool, Callable[[], None]]:
    """Whether this is the only or first process of a distributed run, and what waits for the others."""
    if not (distributed.is_available() and distributed.is_initialized()):
        return True, lambda: None
    return distributed.get_rank() == 0, distributed.barrier


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """An advisory lock on a file; it ends with the process, whatever ends that."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
