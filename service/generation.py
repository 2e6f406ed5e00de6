"""Generation: the models that answer from one reload to the next."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from onoma.embedder import Embedded
from service.backend import AnyBackend, Backend, EncoderBackend
from service.cascade import Answer, Cascade
from service.errors import ModelNotLoaded, NoEncoder, NotReady, shown
from service.queueing import Stages


class Generation:
    """Models that belong together: a request gets all its answers from one generation.

    It counts who works with it (`with generation:`), because its engines may only be closed when nobody does.

    :param taggers: the loaded models that find entities, by name; none before the first are loaded.
    :param encoders: those that give vectors.
    :param cascade: of the taggers.
    """

    def __init__(
        self, taggers: Mapping[str, Backend], encoders: Mapping[str, EncoderBackend], cascade: Cascade
    ) -> None:
        self.taggers = taggers
        self.encoders = encoders
        self.backends: Mapping[str, AnyBackend] = {**taggers, **encoders}
        self.labels = tuple(dict.fromkeys(label for tagger in taggers.values() for label in tagger.labels.types))
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

    def check_encoders(self) -> None:
        """Refuse a request for vectors where nothing gives any.

        :raises ServiceError: NotReady or NoEncoder.
        """
        self.check_loaded()
        if not self.encoders:
            raise NoEncoder

    async def embed(self, texts: Sequence[str], stages: Stages, *, model: str, deadline: float) -> list[Embedded]:
        """One vector per text, in order; adds the time spent to `stages`.

        :raises ServiceError: if there is none.
        """
        with self:
            return await self.encoder(model).run(texts, stages, deadline=deadline)

    def encoder(self, name: str) -> EncoderBackend:
        """The sentence encoder of that name.

        :raises ServiceError: NotReady, NoEncoder or ModelNotLoaded.
        """
        if (encoder := self.encoders.get(name)) is not None:
            return encoder
        self.check_encoders()
        there = f"its sentence encoders are {', '.join(self.encoders)}"
        if name in self.taggers:
            raise ModelNotLoaded(f"model: {name} finds entities and gives no vectors; {there}")
        raise ModelNotLoaded(f"model: this server runs without {shown(name)}; {there}")

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
