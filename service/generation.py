"""Generation: the models that answer from one reload to the next."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from service.backend import Backend
from service.cascade import Answer, Cascade
from service.errors import NotReady
from service.queueing import Stages


class Generation:
    """Models that belong together: a request gets all its answers from one generation.

    It counts who works with it (`with generation:`), because its engines may only be closed when nobody does.

    :param backends: the loaded models by name; none before the first are loaded.
    :param cascade: of these models.
    """

    def __init__(self, backends: Mapping[str, Backend], cascade: Cascade) -> None:
        self.backends = backends
        self.labels = tuple(
            dict.fromkeys(label for backend in backends.values() for label in backend.labels.types)
        )
        self._cascade = cascade
        self._users = 0
        self._unused: asyncio.Future[None] | None = None

    def check_loaded(self) -> None:
        """Refuse a request that came before the models.

        :raises NotReady: if there are none.
        """
        if not self.backends:
            raise NotReady("the models are not loaded yet")

    async def tag(
        self, texts: Sequence[str], stages: Stages, *, model: str, deadline: float, bulk: bool = False
    ) -> list[Answer]:
        """As `Cascade.tag`."""
        with self:
            return await self._cascade.tag(texts, stages, model=model, deadline=deadline, bulk=bulk)

    def check(self, model: str) -> None:
        """As `Cascade.check`."""
        self._cascade.check(model)

    def __enter__(self) -> None:
        self._users += 1

    def __exit__(self, *_: object) -> None:
        self._users -= 1
        if not self._users and self._unused is not None and not self._unused.done():
            self._unused.set_result(None)

    async def unused(self) -> None:
        """Return when nobody works with it any more; to be called once, when no new request will."""
        if self._users:
            self._unused = asyncio.get_running_loop().create_future()
            await self._unused
