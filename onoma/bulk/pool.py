"""Processes: each has a worker; chunks go in as they are read, outcomes come out in the same order."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from queue import SimpleQueue

from onoma.bulk.errors import BulkError
from onoma.bulk.job import Chunk, Job, Outcome
from onoma.bulk.worker import Worker
from onoma.errors import OnomaError

# Started anew, not forked: a fork has the locks of threads that it does not have, onnxruntime's among them.
_CONTEXT = multiprocessing.get_context("spawn")

_Handed = tuple[Chunk | None, Future[Outcome]] | None


def serve_chunks(connection: Connection, job: Job) -> None:
    """What a process does: answers chunks until the other end is closed, as it is when that process is killed."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # the other cores are the other processes'
    worker = Worker(job)
    with suppress(EOFError, OSError):
        while True:
            chunk = connection.recv()
            try:
                answer: Outcome | OnomaError = worker(chunk)
            except OnomaError as error:
                answer = error
            connection.send(answer)


class _Process:
    """A process, and the thread's end of its connection."""

    def __init__(self, job: Job) -> None:
        self._connection, other = _CONTEXT.Pipe()
        self._process: BaseProcess = _CONTEXT.Process(target=serve_chunks, args=(other, job), daemon=True)
        self._process.start()
        other.close()

    def __call__(self, chunk: Chunk) -> Outcome:
        try:
            self._connection.send(chunk)
            answer = self._connection.recv()
        except (EOFError, OSError) as error:
            self._process.join()
            where = f"{chunk.name}:{chunk.start.line}"
            code = self._process.exitcode
            raise BulkError(f"a process ended with exit code {code} at the rows from {where} on") from error
        if isinstance(answer, OnomaError):
            raise answer
        return answer  # type: ignore[no-any-return]

    def stop(self) -> None:
        self._process.terminate()
        self._process.join()

    def close(self) -> None:
        self._connection.close()


class Pool:
    """Up to `size` processes, started when there is work for them."""

    def __init__(self, job: Job, size: int) -> None:
        self._job = job
        self._size = size
        self._own = threading.local()
        self._processes: list[_Process] = []
        self._starting = threading.Lock()
        self._stopped = False

    def map(self, chunks: Generator[Chunk]) -> Generator[tuple[Chunk, Outcome]]:
        """Outcomes of chunks, in their order; at most two chunks per process are read ahead.

        :raises BulkError: if a process dies, or a chunk cannot be tagged.
        """
        handed: SimpleQueue[_Handed] = SimpleQueue()
        room = threading.Semaphore(2 * self._size)
        executor = ThreadPoolExecutor(self._size, "tag", initializer=_without_interrupts)
        reader = threading.Thread(target=self._feed, args=(chunks, executor, handed, room), name="read", daemon=True)
        reader.start()
        try:
            while (item := handed.get()) is not None:
                chunk, future = item
                outcome = future.result()
                if chunk is not None:
                    yield chunk, outcome
                room.release()
        finally:
            with self._starting:
                self._stopped = True
            room.release()
            for process in self._processes:
                process.stop()
            executor.shutdown(cancel_futures=True)
            for process in self._processes:
                process.close()
            # It may wait for standard input, for as long as that says nothing.
            reader.join(timeout=1)

    def _feed(
        self,
        chunks: Generator[Chunk],
        executor: ThreadPoolExecutor,
        handed: SimpleQueue[_Handed],
        room: threading.Semaphore,
    ) -> None:
        try:
            while room.acquire() and not self._stopped and (chunk := next(chunks, None)) is not None:
                handed.put((chunk, executor.submit(self._tag, chunk)))
        except Exception as error:  # it belongs to the thread that writes
            failed: Future[Outcome] = Future()
            failed.set_exception(error)
            handed.put((None, failed))
        finally:
            chunks.close()
            handed.put(None)

    def _tag(self, chunk: Chunk) -> Outcome:
        if not hasattr(self._own, "process"):
            with self._starting:
                if self._stopped:
                    raise BulkError("stopped")
                self._own.process = _Process(self._job)
                self._processes.append(self._own.process)
        process: _Process = self._own.process
        return process(chunk)


def _without_interrupts() -> None:
    """For a thread that starts processes, which inherit it: Ctrl-C is for the process that writes alone."""
    if sys.platform != "win32":
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
