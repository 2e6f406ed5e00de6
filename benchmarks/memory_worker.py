"""A process of `benchmarks.engine_memory`: runs a model on shapes that change, and says how much memory it has.

`python -m benchmarks.memory_worker BUNDLE VARIANT VOCABULARY BATCH_TOKENS`
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.service.pinned import answer_jobs
from benchmarks.sessions import Session, Setup
from onoma.bundle import MODEL_FILE, Manifest, read_manifest
from onoma.model import OnnxModel, padded

Ints = NDArray[np.int64]
Infer = Callable[[Sequence[Ints]], object]
NOW = "as onoma"
SETUPS: dict[str, Setup] = {
    "patterns": Setup(pattern=True),
    "no arena": Setup(arena="none"),
    "arena as requested": Setup(arena="as-requested"),
    "arena shrinks": Setup(shrinking=True),
}
VARIANTS = (NOW, *SETUPS)


def shapes(batch_tokens: int, limit: int, *, seed: int = 0) -> Iterator[tuple[int, int]]:
    """Rows and pieces a row of one batch after the other: any that an engine may run, small ones as often as large.

    :param limit: most pieces in a row.
    """
    rng = np.random.default_rng(seed)
    while True:
        width = int(np.exp(rng.uniform(0, np.log(limit + 1))))
        yield int(np.exp(rng.uniform(0, np.log(batch_tokens // width + 1)))), width


def opened(folder: Path, manifest: Manifest, variant: str) -> Infer:
    """A bundle's model on one thread: what `OnnxModel` does, or the same with one setting changed."""
    path, facts = folder / MODEL_FILE, manifest.tokenizer
    if variant == NOW:
        return OnnxModel(path, facts=facts, threads=1).infer
    session = Session(path, SETUPS[variant])

    def infer(inputs: Sequence[Ints]) -> object:
        ids, mask, places = padded(inputs, facts)
        return [rows[place] for rows, place in zip(session.run(ids, mask), places, strict=True)]

    return infer


def resident() -> float:
    """Memory of this process that is in RAM (RSS), in MiB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def main(arguments: Sequence[str]) -> int:
    """Load the model, run the largest shape as a service does that warms up, and answer jobs: so many more runs."""
    folder, variant = Path(arguments[0]), arguments[1]
    vocabulary, batch_tokens = map(int, arguments[2:])
    manifest = read_manifest(folder)
    facts = manifest.tokenizer
    limit = min(manifest.max_length - len(facts.prefix_ids) - len(facts.suffix_ids), batch_tokens)
    bare = resident()
    infer = opened(folder, manifest, variant)
    loaded = resident()
    infer([np.zeros(limit, dtype=np.int64)] * (batch_tokens // limit))
    following = shapes(batch_tokens, limit)
    rng = np.random.default_rng(0)

    def job(runs: int) -> dict[str, Any]:
        pieces, seconds = 0, 0.0
        for rows, width in islice(following, runs):
            inputs = list(rng.integers(vocabulary, size=(rows, width)))
            began = time.process_time()
            infer(inputs)
            seconds += time.process_time() - began
            pieces += rows * width
        return {"bare": bare, "loaded": loaded, "resident": resident(), "seconds": seconds, "pieces": pieces}

    answer_jobs(job)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
