"""The Ray engine: splits of the inputs go through Ray Data to actors, which write shards with a model of their own.

    OUT.partial/part-000000.jsonl  shards that are complete; what is not has a name that begins with a dot
    OUT.journal                    of what run they are, and how many rows each has

At the end OUT.partial becomes OUT. All machines must see the inputs, the model and the output under the same paths.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from onoma.bulk.errors import BulkError
from onoma.bulk.inputs import STDIN, Inputs
from onoma.bulk.job import Job
from onoma.bulk.journal import FORMAT_VERSION, Entry, names_of, read_journal, write_whole
from onoma.bulk.local import identity_of, load_worker
from onoma.bulk.parquet import output_schema, own_schema
from onoma.bulk.progress import Progress
from onoma.bulk.shards import ShardWriter, Split, errors_of, splits_of


def tag_with_ray(
    job: Job, inputs: Inputs, output: Path, *, processes: int, progress: Progress, restart: bool = False
) -> Entry:
    """Write a folder of shards, which is there whole or not at all; a run that was interrupted is gone on with.

    :param processes: actors, one CPU each; 0 for all CPUs of the cluster.
    :raises BulkError: at a bad row, if they are not skipped; or if what an interrupted run left is of another run.
    :raises ModuleNotFoundError: without Ray.
    """
    if STDIN in inputs.paths:
        raise BulkError("--engine ray reads files, not standard input")
    if job.form == "color" or (job.form, job.kind) == ("parquet", "jsonl"):
        raise BulkError(f"--engine ray does not write {job.kind} as {job.form}: shards would have schemas of their own")
    load_worker(job)  # says what is wrong with options and model before a cluster is asked
    schema = output_schema(own_schema(job, inputs.paths), job) if job.form == "parquet" else None
    folder, journal, errors = names_of(output)
    if output.exists():
        raise BulkError(f"{output} exists already: name another --output, or remove it")
    if restart:
        shutil.rmtree(folder, ignore_errors=True)
        journal.unlink(missing_ok=True)
    identity = identity_of(job, inputs)
    found = read_journal(journal, identity)
    done: dict[str, dict[str, Any]] = {} if found is None else found["shards"]
    folder.mkdir(parents=True, exist_ok=True)
    splits = splits_of(inputs)
    left = [split for split in splits if str(split.number) not in done]
    write_whole(journal, {"format_version": FORMAT_VERSION, "identity": identity, "shards": done})
    with _cluster():
        for answer in _tagged(left, ShardWriter(job, folder, schema), processes):
            if answer["failure"]:
                raise BulkError(f"{answer['failure']} (--skip-errors leaves such rows out; complete shards are kept)")
            done[str(answer["number"])] = {"rows": answer["rows"], "bad": answer["bad"]}
            write_whole(journal, {"format_version": FORMAT_VERSION, "identity": identity, "shards": done})
            read = sum(split.size for split in splits if str(split.number) in done)
            progress.show(read, sum(shard["rows"] for shard in done.values()))
    progress.end()
    bad = sum(shard["bad"] for shard in done.values())
    _gather_errors(folder, splits, errors, bad)
    folder.replace(output)
    journal.unlink()
    return Entry(rows=sum(shard["rows"] for shard in done.values()), bad=bad, done=True)


def _gather_errors(folder: Path, splits: Sequence[Split], errors: Path, bad: int) -> None:
    """One file of the bad rows of all shards, in order; none if there are none."""
    if bad:
        with errors.open("wb") as file:
            for split in splits:
                file.write(errors_of(folder, split).read_bytes())
    for split in splits:
        errors_of(folder, split).unlink(missing_ok=True)


@contextmanager
def _cluster() -> Generator[None]:
    """The cluster that RAY_ADDRESS names or that is connected already, else one of this machine for the time being."""
    import ray

    started = not ray.is_initialized()
    if started:
        alone = {} if os.environ.get("RAY_ADDRESS") else {"include_dashboard": False}
        ray.init(logging_level=logging.WARNING, log_to_driver=False, **alone)
    try:
        yield
    finally:
        if started:
            ray.shutdown()


def _tagged(splits: Sequence[Split], writer: ShardWriter, processes: int) -> Iterator[dict[str, Any]]:
    """What became of each split, as they are done."""
    import ray
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)  # it tells of every step
    if not splits:
        return
    cpus = int(ray.cluster_resources().get("CPU", 1))
    actors = max(1, min(processes or cpus, cpus, len(splits)))
    ray.data.DataContext.get_current().enable_progress_bars = False
    items = [{"at": at} for at in range(len(splits))]
    rows = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
        ShardActor,
        fn_constructor_args=(writer, list(splits)),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=actors),
        num_cpus=1,
    )
    yield from rows.iter_rows()


class ShardActor:
    """What Ray Data calls: a batch is the number of one split."""

    def __init__(self, writer: ShardWriter, splits: list[Split]) -> None:
        os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the other cores are the other actors'
        self._writer = writer
        self._splits = splits

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Write the split's shard."""
        [at] = batch["at"]
        return {name: [value] for name, value in self._writer.write(self._splits[at]).items()}
