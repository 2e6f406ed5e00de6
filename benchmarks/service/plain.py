"""The server that most people would write: FastAPI, and onnxruntime in a thread of the pool, one text at a time.

A text is one input of the model, however long; its tags are the best of each piece, or of the CRF's Viterbi sequence; a
loop makes entities of them.
With `--tagger`, onoma's own `Tagger.tag` does the work instead: it cuts long texts into sentences, which share a model
run, and finds the best legal sequence of tags.

`python -m benchmarks.service.plain --models models --port 8001`
"""

from __future__ import annotations

import argparse
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
import uvicorn
from fastapi import FastAPI, HTTPException
from tokenizers import Tokenizer

from benchmarks.service.schemas import Entity, NerRequest, NerResponse, Result, Timings
from onoma.bundle import MODEL_FILE, TOKENIZER_FILE, Transitions, read_manifest
from onoma.tagger import Tagger

Tag = Callable[[str], Result]


def with_onnxruntime(folder: Path) -> Tag:
    """The model of a bundle, run on one text."""
    manifest = read_manifest(folder)
    tokenizer = Tokenizer.from_file(str(folder / TOKENIZER_FILE))
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1  # it has one core
    session = ort.InferenceSession(str(folder / MODEL_FILE), options, providers=["CPUExecutionProvider"])
    prefix, suffix = list(manifest.tokenizer.prefix_ids), list(manifest.tokenizer.suffix_ids)
    given = [entry.name for entry in session.get_inputs()]

    def tag(text: str) -> Result:
        encoding = tokenizer.encode(text, add_special_tokens=False)
        if not encoding.ids:
            return Result(entities=[], model="student", fallback=None, windows=0)
        ids = np.array([prefix + encoding.ids + suffix], dtype=np.int64)
        feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        logits = session.run(["logits"], {name: feeds[name] for name in given})[0][0]
        logits = logits[len(prefix) : len(logits) - len(suffix)]
        shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
        probabilities = shifted / shifted.sum(axis=1, keepdims=True)
        best = probabilities.argmax(axis=1) if manifest.crf is None else viterbi(logits, manifest.crf)
        scores = probabilities[np.arange(len(best)), best]
        entities: list[Entity] = []
        begin, kind = 0, "O"
        tags = [manifest.labels[column] for column in best] + ["O"]
        for place, name in enumerate(tags):
            if kind != "O" and name != f"I-{kind}":
                start, end = encoding.offsets[begin][0], encoding.offsets[place - 1][1]
                score = round(float(scores[begin:place].mean()), 6)
                entities.append(Entity(start=start, end=end, label=kind, text=text[start:end], score=score))
                kind = "O"
            if name != "O" and kind == "O":
                begin, kind = place, name[2:]
        return Result(entities=entities, model="student", fallback=None, windows=1)

    return tag


def viterbi(emissions: np.ndarray, crf: Transitions) -> np.ndarray:
    """(T,) the best sequence of tags, from emissions (T, C)."""
    transitions = np.array(crf.transitions)
    scores = np.array(crf.start) + emissions[0]
    back = np.zeros(emissions.shape, dtype=np.int64)
    for place in range(1, len(emissions)):
        ways = scores[:, None] + transitions
        back[place] = ways.argmax(axis=0)
        scores = ways.max(axis=0) + emissions[place]
    best = [int((scores + np.array(crf.end)).argmax())]
    for place in range(len(emissions) - 1, 0, -1):
        best.append(int(back[place, best[-1]]))
    return np.array(best[::-1])


def with_tagger(tagger: Tagger) -> Tag:
    """onoma's Tagger, run on one text."""

    def tag(text: str) -> Result:
        tagged = tagger.tag(text)
        entities = [
            Entity(
                start=one.start,
                end=one.end,
                label=one.label,
                text=text[one.start : one.end],
                score=round(one.score, 6),
            )
            for one in tagged.entities
        ]
        return Result(entities=entities, model="student", fallback=None, windows=tagged.windows)

    return tag


def create_app(tag: Tag) -> FastAPI:
    """POST /ner with one model; a plain `def` endpoint, which FastAPI runs in its pool of threads."""
    app = FastAPI()

    @app.get("/readyz")
    def readyz() -> dict[str, str]:
        return {"status": "ready"}

    @app.post("/ner")
    def ner(request: NerRequest) -> NerResponse:
        began = time.perf_counter()
        if request.text is not None:
            results = [tag(request.text)]
        elif request.texts is not None:
            results = [tag(text) for text in request.texts]
        else:
            raise HTTPException(422, "give text or texts")
        total = round(1000 * (time.perf_counter() - began), 3)
        return NerResponse(
            results=results,
            request_id=uuid.uuid4().hex,
            timings_ms=Timings(queue=0, tokenize=0, infer=total, decode=0, total=total),
        )

    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to stop."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.service.plain", description=__doc__)
    options.add_argument("--models", type=Path, default=Path("models"), help="folder with the bundle `student`")
    options.add_argument("--port", type=int, default=8001)
    options.add_argument("--tagger", action="store_true", help="let onoma's Tagger tag")
    given = options.parse_args(arguments)
    student = given.models / "student"
    tag = with_tagger(Tagger.load(student, threads=1)) if given.tagger else with_onnxruntime(student)
    uvicorn.run(create_app(tag), port=given.port, access_log=False, log_level="warning")
    return 0


if __name__ == "__main__":
    sys.exit(main())
