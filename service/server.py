"""The server: one process, or several that share a port."""

from __future__ import annotations

import logging
import multiprocessing
import secrets
import socket
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from onoma import __version__
from onoma.bundle import read_any_manifest
from onoma.model import available_cores
from service.accepting import ABSENT, Shares
from service.app import create_app
from service.child import Seat, run_child
from service.draining import DrainingServer
from service.listening import bound, urls
from service.logs import configure, fields
from service.memory import share_one_heap
from service.processes import Supervisor
from service.registry import find_bundles, load_models
from service.settings import Settings
from service.siblings import SECRET_BYTES

LOG = logging.getLogger("onoma.service")

MOST_PROCESSES = 8
"""As many as are started at most when nobody says how many: each has models of its own in memory."""
_STOP_SECONDS = 15.0  # for closing engines and sending the last traces, beyond draining and shutting down


def serve(settings: Settings) -> int:
    """Load the models and serve until told to stop.

    :raises OnomaError: CannotListen, BundleError if a bundle is missing or damaged, StartFailed; before the port is
        opened.
    :raises ValueError: if the settings do not go with this machine.
    """
    configure(settings)
    settings = settled(settings, cores=available_cores())
    with bound(settings.host, settings.port) as listeners:
        return _serve_alone(settings, listeners) if settings.processes == 1 else _serve_together(settings, listeners)


def settled(settings: Settings, *, cores: int) -> Settings:
    """Settings with a number of processes and, if there are several, the threads of each.

    :raises ValueError: for several where the system is not Linux.
    """
    linux = sys.platform == "linux"
    count = settings.processes
    if count is None:
        count = min(cores, MOST_PROCESSES) if linux else 1
    if count > 1 and not linux:
        raise ValueError(f"processes: only Linux can have several, got {count}")
    threads = settings.threads
    if count > 1 and threads is None:
        threads = max(1, cores // count)
    return settings.model_copy(update={"processes": count, "threads": threads})


def _serve_alone(settings: Settings, listeners: list[socket.socket]) -> int:
    share_one_heap()
    models = load_models(settings)
    server = DrainingServer(create_app(settings, models=models))
    _announce(settings, listeners, {name: one.manifest.name if one.manifest else name for name, one in models.items()})
    server.run(listeners)
    return 0 if server.started else 1


def _serve_together(settings: Settings, listeners: list[socket.socket]) -> int:
    # The bundles are looked at here once, so that what is wrong is said once, but their models stay out of memory.
    models = {name: read_any_manifest(folder).name for name, folder in find_bundles(settings.models).items()}
    spawned = multiprocessing.get_context("spawn")
    assert settings.processes is not None
    secret, shares = secrets.token_bytes(SECRET_BYTES), Shares(spawned, settings.processes)

    def start(place: int, report: Connection) -> BaseProcess:
        seat = Seat(place, settings, secret, shares)
        return spawned.Process(target=run_child, args=(seat, listeners, report), daemon=True)

    stop_seconds = settings.drain_seconds + settings.shutdown_seconds + _STOP_SECONDS
    _announce(settings, listeners, models)
    Supervisor(
        start,
        count=settings.processes,
        listeners=listeners,
        stop_seconds=stop_seconds,
        ended=lambda place: shares.note(place, ABSENT),
    ).run()
    return 0


def _announce(settings: Settings, listeners: Sequence[socket.socket], models: Mapping[str, str]) -> None:
    started = {
        "version": __version__,
        "urls": urls(listeners),
        "models": dict(models),
        "cores": available_cores(),
        "settings": settings.model_dump(mode="json"),
    }
    LOG.info("serving", extra=fields(**started))
