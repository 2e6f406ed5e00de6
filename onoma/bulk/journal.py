"""The journal beside an unfinished output: of what run it is, and how much of it is complete.

    OUT.partial               rows as they come; Parquet as a spool of Arrow streams
    OUT.errors.jsonl.partial  bad rows, if they are skipped
    OUT.journal               replaced whole, about once a second, after what it counts is on disk

At the end the partial files get their names and the journal goes. What a killed run wrote after its last entry is cut
off when it is resumed.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from onoma.bulk.errors import BulkError
from onoma.bulk.job import Position

FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """How much is complete.

    :param size: bytes of the partial output; `error_size` of the partial errors.
    :param stdin_before: how many bytes of standard input are identified, and their hash.
    :param done: whether all rows are written, and only names are to be given.
    """

    position: Position = Position()
    size: int = 0
    error_size: int = 0
    rows: int = 0
    bad: int = 0
    stdin_before: tuple[int, str] = (0, "")
    done: bool = False


def names_of(output: Path) -> tuple[Path, Path, Path]:
    """The partial output, the journal, and the file of errors when it is complete."""
    own = output.name
    return (
        output.with_name(own + ".partial"),
        output.with_name(own + ".journal"),
        output.with_name(own + ".errors.jsonl"),
    )


def write_whole(path: Path, content: dict[str, Any]) -> None:
    """Replace a JSON file at once: a reader, or a crash, meets the old one or the new one."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(content, file, ensure_ascii=False, indent=1)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def read_journal(path: Path, identity: dict[str, Any]) -> dict[str, Any] | None:
    """A journal of the same run; None if there is none.

    :raises BulkError: if it is of another run: says what differs, and how to go on.
    """
    if not path.exists():
        return None
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if content["format_version"] != FORMAT_VERSION:
        raise BulkError(f"{path} has format {content['format_version']}, this onoma reads {FORMAT_VERSION}")
    # The same form for both: JSON has no tuples.
    before, now = dict(_flat(content["identity"])), dict(_flat(json.loads(json.dumps(identity))))
    if before != now:
        differing = [
            f"{name} was {before.get(name)!r}, is {now.get(name)!r}"
            for name in {**before, **now}
            if before.get(name) != now.get(name)
        ]
        raise BulkError(f"{path} is of another run: {'; '.join(differing)} (--restart begins anew)")
    return content


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) or (isinstance(value, list) and value and isinstance(value[0], dict)):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value, start=1):
            yield from _flat(inner, f"{name} {key}".strip())
    else:
        yield name, value


class Partial:
    """The partial files of one output, and their journal. `entry` says how far they are; close it, whatever comes.

    :param identity: what the run is; JSON.
    :param restart: throw away what an earlier run left.
    :raises BulkError: if the output exists, another run is at it, or what is there is of another run or damaged.
    """

    def __init__(self, output: Path, *, identity: dict[str, Any], restart: bool = False) -> None:
        self.output = output
        self.partial, self.journal, self.errors = names_of(output)
        self._partial_errors = self.errors.with_name(self.errors.name + ".partial")
        self._identity = identity
        found = None if restart else read_journal(self.journal, identity)
        self.entry = Entry() if found is None else _entry(found["entry"])
        self._files: list[BinaryIO] = []
        if output.exists() and not self.entry.done:
            raise BulkError(f"{output} exists already: name another --output, or remove it")
        if output.exists() and not self.partial.exists():
            return  # killed when the output had its name already
        sizes = {self.partial: self.entry.size, self._partial_errors: self.entry.error_size}
        if found is not None:
            for path, size in sizes.items():
                if (actual := path.stat().st_size if path.exists() else 0) < size:
                    raise BulkError(
                        f"{path} has {actual} bytes, {self.journal.name} counts {size}: it is damaged "
                        f"(--restart begins anew)"
                    )
        for path in sizes:
            self._files.append(path.open("ab"))
        if not _locked(self._files[0].fileno()):
            self.close()
            raise BulkError(f"another run is writing {self.partial}")
        for path, size in sizes.items():
            os.truncate(path, size)
        self.commit()

    def write(self, output: bytes, errors: bytes, entry: Entry) -> None:
        """Append; `entry` says how far the inputs are with it, its sizes are counted here."""
        for file, data in zip(self._files, (output, errors), strict=True):
            file.write(data)
        size, error_size = self.entry.size + len(output), self.entry.error_size + len(errors)
        self.entry = replace(entry, size=size, error_size=error_size)

    def commit(self) -> None:
        """Bring all that is written to disk, then say so in the journal."""
        for file in self._files:
            file.flush()
            os.fsync(file.fileno())
        content = {"format_version": FORMAT_VERSION, "identity": self._identity, "entry": asdict(self.entry)}
        write_whole(self.journal, content)

    def close(self) -> None:
        """Let go of the files. What was not committed is written all the same, and cut off when resumed."""
        for file in self._files:
            file.close()

    def finish(self) -> None:
        """Give the errors their name, or remove them if there are none; the output has its name already."""
        if self._partial_errors.exists():
            if self.entry.error_size:
                self._partial_errors.replace(self.errors)
            else:
                self._partial_errors.unlink()
        self.partial.unlink(missing_ok=True)
        self.journal.unlink()


def _entry(content: dict[str, Any]) -> Entry:
    size, digest = content.pop("stdin_before")
    return Entry(**{**content, "position": Position(**content["position"]), "stdin_before": (size, digest)})


def _locked(descriptor: int) -> bool:
    """Lock a file, unless another process has: two runs at one output would mix their rows.

    The lock goes with the process, however that ends.
    """
    if sys.platform == "win32":
        return True
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
