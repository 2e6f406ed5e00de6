"""Which tests of tests/service ask the server as any client could: they hold wherever it runs."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Iterator

MODULES = ("test_contract", "test_bad_input", "test_cascade", "test_hugging_face", "test_kserve", "test_security")
_ONLY_THERE = {
    "test_no_field_reaches_the_file_system",  # looks at what its own process opens
    "test_streamed_body_is_counted",  # has an asynchronous client; test_on_ray.py has its own
    "test_the_metadata_of_a_model",  # of models without a bundle
}
_INSIDE = re.compile(r"\bserved\.(app|student|teacher)\b")


def shared_tests() -> Iterator[tuple[str, Callable[..., None]]]:
    """Name and function of each; they take `served`, have no settings of their own and do not reach into it."""
    for module in MODULES:
        for name, test in vars(importlib.import_module(module)).items():
            if not (name.startswith("test_") and inspect.isfunction(test)) or name in _ONLY_THERE:
                continue
            needs = inspect.signature(test).parameters
            inside = {"serve", "monkeypatch"} & needs.keys() or _INSIDE.search(inspect.getsource(test))
            if "served" in needs and not inside:
                yield f"{name}__{module.removeprefix('test_')}", test
