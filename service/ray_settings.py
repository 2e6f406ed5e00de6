"""Settings of the service on Ray Serve; what concerns the service itself is in Settings, as everywhere."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict


class RaySettings(BaseSettings):
    """How many replicas there are, and when. Each field's variable is ONOMA_RAY_ and its name in capitals.

    The builder's arguments (`args` in a Serve config) go before the environment.
    """

    model_config = SettingsConfigDict(env_prefix="ONOMA_RAY_", frozen=True, extra="forbid")

    student_replicas: int = Field(default=1, ge=1, description="fewest replicas that answer HTTP, with the student")
    student_max_replicas: int = Field(default=8, ge=1, description="most of them")
    teacher_replicas: int = Field(default=1, ge=1, description="fewest replicas of the teacher and of each other model")
    teacher_max_replicas: int = Field(default=2, ge=1, description="most of them")
    student_target_requests: float = Field(
        default=8.0, gt=0, description="requests under way or waiting for each replica that autoscaling aims at"
    )
    teacher_target_requests: float = Field(
        default=4.0, gt=0, description="the same for the teacher, and for each other model"
    )
    upscale_seconds: float = Field(
        default=10.0, ge=0, le=3600, description="how long there must be more than that before replicas are added"
    )
    downscale_seconds: float = Field(
        default=300.0, ge=0, le=86_400, description="how long there must be less before replicas are stopped"
    )
    max_queued_requests: int = Field(
        default=256,
        ge=1,
        description="requests that wait in each HTTP proxy for a student, in each student for another model; beyond "
        "it 429",
    )
    cpus: float = Field(
        default=1.0,
        gt=0,
        le=64,
        description="cores that a replica asks Ray for; if ONOMA_THREADS is not set, its models get as many threads, "
        "rounded down, at least 1",
    )

    @model_validator(mode="after")
    def _check(self) -> RaySettings:
        for kind in ("student", "teacher"):
            least, most = getattr(self, f"{kind}_replicas"), getattr(self, f"{kind}_max_replicas")
            if least > most:
                raise ValueError(f"{kind}_max_replicas must be at least {kind}_replicas, {least}, got {most}")
        return self

    def autoscaling(self, *, student: bool) -> dict[str, Any]:
        """An AutoscalingConfig of Ray Serve, for the student's deployment or another model's."""
        kind = "student" if student else "teacher"
        return {
            "min_replicas": getattr(self, f"{kind}_replicas"),
            "max_replicas": getattr(self, f"{kind}_max_replicas"),
            "target_ongoing_requests": getattr(self, f"{kind}_target_requests"),
            "upscale_delay_s": self.upscale_seconds,
            "downscale_delay_s": self.downscale_seconds,
            # Over a longer time than this, Ray's default of 30 seconds, the delay for more would mean little.
            "look_back_period_s": 15.0,
        }
