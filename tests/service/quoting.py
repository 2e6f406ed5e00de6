"""A model whose errors quote what it was asked, and requests that make the service fail in every way."""

from __future__ import annotations

import json
from typing import Any

from fakes import FakeModel, FakeSentenceModel

SECRET = "Geheimnis"
# What the fakes do with a text: they fail at `boom`, die at `kill`; their exceptions quote it.
BODIES: dict[str, bytes] = {
    "answered": json.dumps({"text": f"{SECRET} Siemens"}).encode(),
    "the model raises": json.dumps({"text": f"{SECRET} boom"}).encode(),
    "the thread dies": json.dumps({"text": f"{SECRET} kill"}).encode(),
    "no JSON": f'{{"text": "{SECRET}'.encode(),
    "no UTF-8": f'{{"text": "{SECRET}\xff"}}'.encode("latin-1"),
    "another field": json.dumps({"text": "a", SECRET: SECRET}).encode(),
    "a wrong type": json.dumps({"text": [SECRET]}).encode(),
    "both": json.dumps({"text": SECRET, "texts": [SECRET]}).encode(),
    "a label": json.dumps({"text": "a", "labels": [SECRET]}).encode(),
    "a model": json.dumps({"text": "a", "model": SECRET}).encode(),
    "a surrogate": json.dumps({"text": f"{SECRET}\ud800"}).encode(),
    "too long": json.dumps({"text": SECRET * 500}).encode(),
    "too large": b'{"text": "' + SECRET.encode() * 2000 + b'"}',
    "deep": b'{"' + SECRET.encode() + b'":' * 1 + b"[" * 10_000,
}


class QuotingModel(FakeModel):
    """Its errors quote what it was asked, as those of libraries may."""

    def infer(self, inputs: Any) -> Any:
        try:
            return super().infer(inputs)
        except RuntimeError as error:
            raise ValueError(f"cannot tag {SECRET}") from error


class QuotingSentenceModel(QuotingModel, FakeSentenceModel):
    """The same for a sentence encoder."""
