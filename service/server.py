"""The server: uvicorn around the app, draining before it stops."""

from __future__ import annotations

import json
import logging
import time
from types import FrameType

import uvicorn

from onoma import __version__
from onoma.model import available_cores
from service.app import create_app
from service.health import Health
from service.runtime import load_taggers
from service.settings import Settings

LOG = logging.getLogger("onoma.service")


class DrainingServer(uvicorn.Server):
    """Turns /readyz to 503 at the first SIGTERM and stops `drain_seconds` later; a second signal stops at once."""

    def __init__(self, config: uvicorn.Config, *, health: Health, drain_seconds: float) -> None:
        super().__init__(config)
        self._health = health
        self._drain_seconds = drain_seconds
        self._signal: tuple[int, FrameType | None] | None = None
        self._stop_at = float("inf")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called by uvicorn for SIGTERM and SIGINT."""
        self._health.drain()
        if self._signal is not None or not self._drain_seconds:
            super().handle_exit(sig, frame)
            return
        self._signal = (sig, frame)
        self._stop_at = time.monotonic() + self._drain_seconds

    async def on_tick(self, counter: int) -> bool:
        """Called by uvicorn ten times a second; True ends the server."""
        if self._signal is not None and time.monotonic() >= self._stop_at:
            self._stop_at = float("inf")
            super().handle_exit(*self._signal)
        return await super().on_tick(counter)


def serve(settings: Settings) -> int:
    """Load the models and serve until told to stop.

    :raises BundleError: if a bundle is missing or damaged, before the port is opened.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    taggers = load_taggers(settings)
    app = create_app(settings, taggers=taggers)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,  # the metrics count requests; a line per request costs more than a small answer
        server_header=False,
        timeout_graceful_shutdown=settings.shutdown_seconds,
    )
    started = {
        "event": "serve",
        "version": __version__,
        "models": {name: one.manifest.name if one.manifest else name for name, one in taggers.items()},
        "cores": available_cores(),
        "settings": settings.model_dump(mode="json"),
    }
    LOG.info(json.dumps(started, ensure_ascii=False))
    server = DrainingServer(config, health=app.state.runtime.health, drain_seconds=settings.drain_seconds)
    server.run()
    return 0 if server.started else 1
