"""Reloads: how the models of a running server change."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from onoma.errors import BundleError
from service.backend import AnyBackend, LocalBackend, LocalEncoder
from service.errors import ReloadFailed
from service.registry import STUDENT, check_there, load_models

if TYPE_CHECKING:
    from service.runtime import Runtime

LOG = logging.getLogger("onoma.service")


class Change(NamedTuple):
    """Names of the models that were loaded, because they are new or have changed, and of those unloaded."""

    loaded: tuple[str, ...]
    unloaded: tuple[str, ...]


class Reloads:
    """Changes the models, one change at a time; requests under way keep theirs, none is refused.

    :param runtime: whose models they are.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._one_change = asyncio.Lock()
        self._waiting = False

    async def reload(self, name: str | None = None) -> Change:
        """Load the bundles that are new or have changed, unload those that are gone.

        :param name: look at this bundle only.
        :raises ServiceError: ReloadFailed if any bundle is bad, NotFound if there is none of this name; then nothing
            has changed.
        """
        async with self._one_change:
            self._waiting = False
            return self._runtime.swap(await self._read(name))

    def reload_soon(self) -> None:
        """Reload in the background; what is wrong is logged. Until it begins, further calls ask for the same reload."""
        if not self._waiting:
            self._waiting = True
            self._runtime.in_background(self._reload())

    async def _reload(self) -> None:
        with contextlib.suppress(ReloadFailed):  # it is in the log
            await self.reload()

    async def reload_everywhere(self, name: str | None = None) -> Change | None:
        """Reload in all processes of this server.

        :return: None if there are several: the bundles are good, and all processes are told to read the whole folder.
        :raises ServiceError: as `reload`.
        """
        if not self._runtime.supervised:
            return await self.reload(name)
        async with self._one_change:
            backends = await self._read(None)
        if name is not None:
            check_there(name, backends)
        os.kill(os.getppid(), signal.SIGHUP)
        return None

    async def unload(self, name: str) -> Change:
        """Unload a model until it is loaded again: by its name, with the whole folder, or at the next start.

        :raises ServiceError: NotFound if it is not loaded, ReloadFailed if it has to stay.
        """
        async with self._one_change:
            backends = self._runtime.backends
            check_there(name, backends)
            if name == STUDENT:
                raise ReloadFailed("the student cannot be unloaded: no server is without one")
            if self._runtime.supervised:
                raise ReloadFailed(f"this server has several processes: remove the folder of {name} and reload")
            return self._runtime.swap({other: backend for other, backend in backends.items() if other != name})

    async def _read(self, name: str | None) -> dict[str, AnyBackend]:
        """The models as they are in the folder now, warmed up where they are new."""
        runtime = self._runtime
        local = [one for one in runtime.backends.values() if isinstance(one, LocalBackend | LocalEncoder)]
        present = {backend.name: backend.model for backend in local}
        try:
            models = await runtime.in_pool(lambda: load_models(runtime.settings, present=present, only=name))
            return await runtime.prepare(models)
        except BundleError as error:
            runtime.metrics.reload_failures.inc()
            LOG.error("reload failed, the models stay as they were: %s", error)
            raise ReloadFailed(str(error)) from error


@contextmanager
def reloaded_at_sighup(reloads: Reloads) -> Iterator[None]:
    """Within it, SIGHUP reloads, where the platform has it and this is the thread that gets signals."""
    loop = asyncio.get_running_loop()
    able = hasattr(signal, "SIGHUP") and threading.current_thread() is threading.main_thread()
    if able:
        loop.add_signal_handler(signal.SIGHUP, reloads.reload_soon)
    try:
        yield
    finally:
        if able:
            loop.remove_signal_handler(signal.SIGHUP)
