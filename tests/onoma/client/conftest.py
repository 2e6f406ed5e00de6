from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from onoma.client import AsyncClient, Client

sys.path.insert(0, str(Path(__file__).parent))  # for `import client_contract`
sys.path.insert(0, str(Path(__file__).parents[2] / "service"))  # for `import fakes`

from client_contract import AnyClient, Blocking, Clock, Contract, Make


@pytest.fixture
def contract() -> Contract:
    """A service that answers by the contract."""
    return Contract()


@pytest.fixture
def clock() -> Clock:
    """Time that passes only when someone sleeps."""
    return Clock()


@pytest.fixture(params=[Client, AsyncClient])
def make(request: pytest.FixtureRequest, contract: Contract, clock: Clock) -> Iterator[Make]:
    """Makes clients of each kind: `make()` of the contract, `make(handler, retries=0)` of another handler."""
    with ExitStack() as stack:

        def made(handler: Any = contract, *, url: str = "http://onoma", **settings: Any) -> AnyClient:
            settings = {"transport": httpx.MockTransport(handler), "timing": clock.timing()} | settings
            client = request.param(url, **settings)
            return stack.enter_context(closing(client if request.param is Client else Blocking(client)))

        yield made


@pytest.fixture
def client(make: Make) -> AnyClient:
    """A client of each kind, asking the contract."""
    return make()
