"""The machine that figures were measured on."""

from __future__ import annotations

import platform
from pathlib import Path


def processor() -> str:
    """The processor's model, as /proc/cpuinfo names it, else as the platform does."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine() or "unknown processor"
