"""`onoma serve`, and what the service may import."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

from onoma.errors import BundleError
from service.cli import command, read_settings
from service.errors import error_classes


def parse(*options: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return parser.parse_args(options)


def test_options_go_before_the_environment(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("ONOMA_PORT", "1234")
    monkeypatch.setenv("ONOMA_MAX_TEXTS", "7")
    monkeypatch.setenv("ONOMA_FALLBACK_THRESHOLD", "none")
    monkeypatch.setenv("ONOMA_TYPO", "1")
    settings = read_settings(parse("--host", "0.0.0.0"))
    assert (settings.host, settings.port, settings.max_texts) == ("0.0.0.0", 1234, 7)
    assert settings.fallback_threshold is None
    assert read_settings(parse("--port", "8123")).port == 8123
    assert "ONOMA_TYPO" in capsys.readouterr().err


def test_a_setting_out_of_range_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONOMA_WORKERS", "-1")
    with pytest.raises(ValueError, match="workers"):
        read_settings(parse())


def test_missing_bundle_is_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="student"):
        command.run(parse("--models", str(tmp_path), "--port", "0"))


def test_every_error_has_a_code_of_its_own() -> None:
    codes = [kind.code for kind in error_classes()]
    assert len(codes) == len(set(codes)) > 10


def test_the_service_needs_no_training_libraries() -> None:
    script = (
        "import sys, service.server, service.cli; "
        "print(*({'torch', 'transformers', 'optimum', 'distill', 'export'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "\n"
