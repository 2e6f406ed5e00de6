"""The service on Ray Serve: `serve run service.ray:app`. A deployment for each model, the student's answers HTTP.

    proxy -> student (HTTP, the app of service/app.py, the student in process) -> teacher, and each other model

What each deployment has for autoscaling and its limits: RaySettings. The replicas of a model share its load, and all
students share them. See docs/ray.md.
"""
# No `from __future__ import annotations`: Ray Serve looks at the class that `app` is annotated with.

import asyncio
import contextlib
import logging
import os
from collections.abc import Mapping
from typing import Any

from ray import serve
from ray.exceptions import RayActorError, TaskCancelledError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from starlette.types import ASGIApp

from onoma.bundle import read_any_manifest
from service.app import create_app
from service.backend import AnyBackend
from service.errors import ClientGone, NotReady, Overloaded, WorkerDead
from service.logs import configure
from service.merging import merge, pack, render, unpack
from service.metrics import Metrics
from service.ray_hangups import Hangups
from service.ray_settings import RaySettings
from service.registry import STUDENT, find_bundles, load_models
from service.remote import Ask, Question, RemoteBackend, RemoteEncoder, Reply, reply
from service.runtime import Runtime
from service.settings import Settings

LOG = logging.getLogger("onoma.service")

PROXY_CALLBACK = ("RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH", "service.ray_proxy:middlewares")
_SCRAPE_SECONDS = 2.0
_SPARE_REQUESTS = 64
"""Requests that a replica takes beyond ONOMA_MAX_IN_FLIGHT, so that it refuses them itself; and probes, and scrapes."""


def app(args: RaySettings) -> serve.Application:
    """The application, with the models of ONOMA_MODELS; all that is set by ONOMA_* is read here, once for all replicas.

    :raises ValueError: for settings that make no sense on Ray.
    :raises BundleError: if there is no student, or a manifest is damaged.
    """
    # For a cluster that `serve run` starts after this; the proxies of any other cluster need it in their environment.
    os.environ.setdefault(*PROXY_CALLBACK)
    settings = settled(Settings(), args)
    found = find_bundles(settings.models)
    shared = {
        "max_ongoing_requests": settings.max_in_flight + _SPARE_REQUESTS,
        "max_queued_requests": args.max_queued_requests,
        "backpressure_config": {"status_code": 429, "retry_after_s": 1},
        "ray_actor_options": {"num_cpus": args.cpus},
        "graceful_shutdown_timeout_s": float(settings.shutdown_seconds),
        "logging_config": {"enable_access_log": settings.access_log},
    }

    def deployed(kind: Any, name: str) -> Any:
        scaling = args.autoscaling(student=name == STUDENT)
        return serve.deployment(kind, name=name, autoscaling_config=scaling, **shared)

    others = {name: deployed(Other, name).bind(settings, name) for name in found if name != STUDENT}
    return deployed(Student, STUDENT).bind(settings, others)


def settled(settings: Settings, args: RaySettings) -> Settings:
    """Settings with the threads of a replica, and none that Ray takes the place of.

    :raises ValueError: for management: a reload would change one replica of several.
    """
    if settings.management:
        raise ValueError("management: on Ray models change with a new deployment; ONOMA_MANAGEMENT must be false")
    threads = settings.threads if settings.threads is not None else max(1, int(args.cpus))
    return settings.model_copy(update={"threads": threads, "processes": 1, "models": settings.models.absolute()})


def _prepare(settings: Settings) -> None:
    """Make this process one for a model on so many threads."""
    for variable in ("OMP_NUM_THREADS", "RAYON_NUM_THREADS"):
        os.environ[variable] = str(settings.threads)
    configure(settings)


class Other:
    """A replica of a model that the students' replicas ask: the teacher, for one."""

    async def __init__(self, settings: Settings, name: str) -> None:  # type: ignore[misc]  # Ray Serve awaits it
        _prepare(settings)
        self._name = name
        self._runtime = Runtime(settings)
        await self._runtime.start(load_models(settings, only=name))

    async def answer(self, question: Question) -> Reply:
        """Answer for the texts of a request."""
        return await reply(self._runtime.backends[self._name], question)

    async def metrics(self) -> bytes:
        """This replica's, packed."""
        return pack(self._runtime.metrics.registry.collect())

    async def check_health(self) -> None:
        """Called by Ray Serve, which replaces the replica if this fails three times.

        :raises NotReady: if the model does not answer.
        """
        await self._runtime.health.check()

    async def __del__(self) -> None:
        """Called by Ray Serve when the replica has no requests any more."""
        await self._runtime.stop()


@serve.ingress()
class Student:
    """A replica that answers HTTP, with the student; the other models are asked elsewhere."""

    def __init__(self, settings: Settings, others: Mapping[str, Any]) -> None:
        _prepare(settings)
        models = load_models(settings, only=STUDENT)
        elsewhere = {name: _remote(settings, name, handle) for name, handle in others.items()}
        self._app = create_app(settings, models=models, elsewhere=elsewhere)
        self._runtime: Runtime = self._app.state.runtime
        own = serve.get_replica_context()
        students = serve.get_deployment_handle(own.deployment, own.app_name)
        self._runtime.siblings = Replicas(students, tuple(others.values()), self._runtime.metrics)

    def __serve_build_asgi_app__(self) -> ASGIApp:
        """Called by Ray Serve, which runs the app's life, too."""
        return Hangups(self._app)

    async def metrics(self) -> bytes:
        """This replica's, packed."""
        return pack(self._runtime.metrics.registry.collect())

    async def check_health(self) -> None:
        """Called by Ray Serve, which replaces the replica if this fails three times.

        :raises NotReady: if the student does not answer; another model that does not is no reason to replace this.
        """
        with contextlib.suppress(NotReady):
            await self._runtime.health.check()
        await self._runtime.health.check_models([STUDENT])


class Replicas:
    """All replicas of the application as one server (see Together).

    :param own: handle of the deployment that this replica is of.
    :param others: of all others.
    :param metrics: of this replica.
    """

    def __init__(self, own: Any, others: tuple[Any, ...], metrics: Metrics) -> None:
        self._own = own
        self._others = others
        self._metrics = metrics

    async def render(self) -> bytes:
        """The metrics of all replicas that answer, and always of this one."""
        own, *others = await asyncio.gather(*map(self._ask, (self._own, *self._others)))
        found = [own or [pack(self._metrics.registry.collect())], *others]
        return render(merge(unpack(packed) for some in found for packed in some))

    async def _ask(self, handle: Any) -> list[bytes]:
        try:
            everyone = handle.broadcast("metrics")
            answers = await everyone.results_async(timeout_s=_SCRAPE_SECONDS, return_exceptions=True)
        except (TimeoutError, RayActorError, DeploymentUnavailableError) as error:
            LOG.warning("the replicas of %s do not say their metrics: %s", handle.deployment_name, type(error).__name__)
            return []
        return [one for one in answers if isinstance(one, bytes)]


def _remote(settings: Settings, name: str, handle: Any) -> AnyBackend:
    manifest = read_any_manifest(settings.models / name)
    ask = asker(name, handle)
    if manifest.kind == "sentence-encoder":
        return RemoteEncoder(name, ask, dimensions=manifest.dimensions, manifest=manifest)
    return RemoteBackend(name, ask, labels=manifest.label_set, manifest=manifest)


def asker(name: str, handle: Any) -> Ask:
    """What carries questions to the deployment of a model.

    :param handle: its DeploymentHandle.
    """

    async def ask(question: Question) -> Reply:
        response = handle.answer.remote(question)
        try:
            told: Reply = await response
        except (asyncio.CancelledError, TaskCancelledError):
            response.cancel()
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # With a request whose client has gone Ray cancels what it has asked for, and that may be known here first.
            raise ClientGone("the client closed the connection") from None
        except BackPressureError:
            raise Overloaded(f"too many requests wait for the {name}; try again later") from None
        except (RayActorError, DeploymentUnavailableError) as error:
            LOG.warning("the %s cannot be asked: %s", name, type(error).__name__)
            raise WorkerDead(f"the replica of the {name} that worked on this request is gone; send it again") from None
        return told

    return ask
