"""Settings: one class, read from the environment with the prefix ONOMA_."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Everything that can be set; each field's variable is ONOMA_ and its name in capitals."""

    model_config = SettingsConfigDict(env_prefix="ONOMA_", frozen=True, extra="forbid", env_parse_none_str="none")

    models: Path = Field(
        default=Path("models"),
        description="folder of bundles: `student` (required), `teacher` and `encoder` (optional), and any others, each "
        "served under its folder's name",
    )
    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=8000, ge=0, le=65535, description="port to listen on; 0 picks a free one")
    processes: int | None = Field(
        default=None,
        ge=1,
        le=64,
        description="processes that share the port, each with models of its own; none: the available cores, at most 8",
    )
    workers: int | None = Field(
        default=None,
        ge=0,
        le=64,
        description="inference threads per model, each runs its own batch; 0: it runs on the event loop; none: 0 for a "
        "model whose full batch takes at most 0.1 seconds, else 1",
    )
    threads: int | None = Field(
        default=None,
        ge=1,
        le=512,
        description="onnxruntime threads of one batch; none: the available cores, shared out among the processes",
    )
    batch_tokens: int = Field(default=2048, ge=1, description="most word-pieces, padding included, in one model run")
    max_queue_tokens: int = Field(
        default=400_000,
        ge=1,
        description="word-pieces that may wait per model; beyond it 429 (one request alone is always admitted)",
    )
    max_queue_seconds: float = Field(
        default=3.0, gt=0, le=3600, description="fewer may wait if the model would take longer for them than this"
    )
    max_in_flight: int = Field(default=256, ge=1, description="requests worked on at once; beyond it 429")
    max_body_bytes: int = Field(default=4 * 1024 * 1024, ge=1, description="largest body in bytes; beyond it 413")
    max_texts: int = Field(default=1024, ge=1, description="most entries of `texts`, `tokens` or `pairs` in a request")
    max_text_chars: int = Field(default=1_000_000, ge=1, description="most characters (code points) in one text")
    max_total_chars: int = Field(default=2_000_000, ge=1, description="most characters in all texts of a request")
    max_tokens: int = Field(default=200_000, ge=1, description="most given tokens in all of `tokens`")
    deadline_seconds: float = Field(
        default=30.0, gt=0, le=3600, description="time a request may take, reading its body included; beyond it 504"
    )
    stream_idle_seconds: float = Field(
        default=60.0,
        gt=0,
        le=3600,
        description="how long the client of /ner/stream may send and read nothing; then its stream ends with an error",
    )
    fallback: bool = Field(default=True, description="whether `auto` may ask the teacher")
    fallback_threshold: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="confidence under which `auto` asks the teacher; none: as the student's bundle was calibrated; "
        "0: only when the student fails",
    )
    fallback_seconds: float = Field(
        default=10.0, gt=0, le=3600, description="how long `auto` waits for the teacher; then the student answers"
    )
    fallback_share: float = Field(
        default=0.2,
        ge=0,
        le=1,
        description="largest share of the characters sent to `auto` that may go to the teacher because the student is "
        "unsure; 0: none; it bites only under load",
    )
    breaker_failures: int = Field(
        default=5,
        ge=1,
        le=1000,
        description="failures of the teacher, in twice as many calls, after which `auto` leaves it alone; no answer in "
        "time is one",
    )
    breaker_seconds: float = Field(
        default=5.0,
        gt=0,
        le=60,
        description="how long it is left alone at first; twice as long after each failed trial, 60 seconds at most",
    )
    management: bool = Field(
        default=False, description="whether models may be loaded and unloaded over HTTP; SIGHUP reloads them anyway"
    )
    ready_seconds: float = Field(
        default=5.0, gt=0, le=600, description="time the inference behind /readyz may take before it answers 503"
    )
    ready_cache_seconds: float = Field(
        default=1.0, ge=0, le=60, description="how long one such inference answers for all /readyz requests"
    )
    drain_seconds: float = Field(
        default=0.0,
        ge=0,
        le=600,
        description="after SIGTERM, how long to keep accepting requests with /readyz at 503, so balancers notice",
    )
    shutdown_seconds: int = Field(
        default=30, ge=0, le=3600, description="how long requests under way may finish once the port is closed"
    )
    api_keys_file: Path | None = Field(
        default=None,
        description="file of API keys, one a line; a request without one of them gets 401; none: everybody may ask",
    )
    metrics_need_key: bool = Field(
        default=False, description="whether /metrics needs an API key too, where there are any"
    )
    log_format: Literal["text", "json"] = Field(
        default="text", description="`text`: lines for people; `json`: one JSON object a line"
    )
    log_level: Literal["debug", "info", "warning", "error", "critical"] = Field(
        default="info", description="least level that is logged"
    )
    access_log: bool = Field(
        default=False, description="whether every request gets a line in the log, without its texts"
    )
    otel: bool = Field(
        default=False,
        description="whether to send OpenTelemetry traces; needs the extra `otel`, reads the variables OTEL_*",
    )
