"""One Chromium and one server of the bundled models for all tests here; skipped where there is no Chromium to drive."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for `import driving`

from driving import Fakes, bundled, chromium, chromium_path, faked

if TYPE_CHECKING:
    from playwright.sync_api import Browser


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Only when asked for: Playwright leaves an event loop in its thread, which other tests cannot do with."""
    own = [item for item in items if Path(__file__).parent in item.path.parents]
    for item in own:
        item.add_marker("browser")
    if "browser" not in str(config.option.markexpr):
        config.hook.pytest_deselected(items=own)
        items[:] = [item for item in items if item not in own]


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    pytest.importorskip("playwright", reason="no driver of browsers: pip install 'onoma[browser]'")
    if chromium_path() is None:
        pytest.skip("no Chromium: apt-get install chromium, or CHROMIUM=path")
    with chromium() as started:
        yield started


@pytest.fixture(scope="session")
def url(browser: Browser) -> Iterator[str]:
    """The address of the bundled models. After the browser, so that nothing is loaded where there is none."""
    with bundled() as address:
        yield address


@pytest.fixture
def fakes(browser: Browser) -> Iterator[Fakes]:
    with faked() as started:
        yield started
