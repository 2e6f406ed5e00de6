"""Checks of an exported sentence encoder: equal to torch, the same in every company, and hardly worse in int8."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distill.sentences.evaluation import sts_spearman
from distill.sentences.splits import STS_LANGUAGES, Part, sts_path
from export.errors import ExportError
from onoma.embedder import Embedder, SentenceModel, cosine

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]

CHECK_ROWS = 500
"""Of STS-B dev in each language, evenly spread."""
_SPLIT: Part = "dev"
_MAX_FP32_DIFFERENCE = 1e-4  # these two as a share of the greatest number in any vector
_MAX_BATCH_DIFFERENCE = 1e-3


@dataclass(frozen=True, slots=True)
class QualityLimits:
    """How far a quantized encoder may fall behind its fp32 form.

    :param loss: points of Spearman (in percent) on STS-B dev: of the mean over languages, and of the mean across
        languages with English on one side.
    :param cosine: least mean cosine of both forms' vectors of a text.
    """

    loss: float = 0.5
    cosine: float = 0.98


@dataclass(frozen=True, slots=True)
class EncoderParity:
    """How an exported encoder compares with the original on windows of pieces.

    :param difference: largest difference of any number, as a share of the greatest number of the original.
    :param cosine: mean cosine with the original.
    :param batch_difference: as `difference`, between a window alone and the same one in a padded batch.
    """

    windows: int
    difference: float
    cosine: float
    batch_difference: float


def measure_encoder(reference: SentenceModel, model: SentenceModel, inputs: Sequence[Ints]) -> EncoderParity:
    """Compare an exported encoder with the original: each window (T,) alone, and all in one padded batch.

    :raises ExportError: if there is nothing to compare, the model does not run, or the shapes differ.
    """
    if not inputs:
        raise ExportError("parity needs at least one sentence with a piece in it")
    want = np.stack([reference.infer([ids])[0] for ids in inputs])
    try:
        alone = np.stack([model.infer([ids])[0] for ids in inputs])
        together = np.stack(model.infer(inputs))
    except Exception as error:  # onnxruntime's errors share no base class
        raise ExportError(f"the exported graph does not run on inputs of every length: {error}") from error
    if not want.shape == alone.shape == together.shape:
        raise ExportError(f"vectors are {want.shape} before the export and {alone.shape}, {together.shape} after")
    greatest = float(np.abs(want).max()) or 1.0
    return EncoderParity(
        windows=len(want),
        difference=float(max(np.abs(want - alone).max(), np.abs(want - together).max())) / greatest,
        cosine=float(cosine(want, alone).mean()),
        batch_difference=float(np.abs(alone - together).max()) / greatest,
    )


def require_exact(parity: EncoderParity) -> None:
    """Refuse an fp32 graph that does not compute what torch does; a NaN never does.

    :raises ExportError: with the difference and its limit.
    """
    if not parity.difference <= _MAX_FP32_DIFFERENCE:
        raise ExportError(
            f"the fp32 export differs from torch by {parity.difference:.2g} of the greatest number, "
            f"limit {_MAX_FP32_DIFFERENCE:g}"
        )
    require_batch_free(parity, "the fp32 export")


def require_batch_free(parity: EncoderParity, what: str) -> None:
    """Refuse a graph in which a text's vector depends on what runs beside it.

    :raises ExportError: with the difference and its limit.
    """
    if not parity.batch_difference <= _MAX_BATCH_DIFFERENCE:
        raise ExportError(
            f"{what} gives a text in a padded batch another vector than alone: by {parity.batch_difference:.2g} of the "
            f"greatest number, limit {_MAX_BATCH_DIFFERENCE:g}"
        )


def languages_to_check(languages: Sequence[str]) -> tuple[str, ...]:
    """Languages of STS-B dev that an encoder of these languages is checked on: all, where it states none of them.

    :raises ExportError: if the data is not there.
    """
    chosen = tuple(name for name in STS_LANGUAGES if name in languages) or STS_LANGUAGES
    hint = "skip the check of quality with --no-check"
    try:
        missing = [path for name in chosen if not (path := sts_path(name, _SPLIT)).is_file()]
    except FileNotFoundError as error:
        raise ExportError(f"{error}; or {hint}") from error
    if missing:
        raise ExportError(f"{missing[0]} is missing: put it there, or {hint}")
    return chosen


def check_quality(
    exact: Embedder, small: Embedder, *, texts: Sequence[str], languages: Sequence[str], limits: QualityLimits
) -> dict[str, Any]:
    """Compare a quantized encoder with its fp32 form: cosines on texts, and Spearman on STS-B dev.

    :param languages: of STS-B; without any, only the cosines on `texts` are compared.
    :return: what was measured, for the manifest.
    :raises ExportError: if a figure is beyond its limit; a NaN always is.
    """
    found: dict[str, Any] = {}
    if languages:
        whole, full = _measured(exact, languages)
        less, part = _measured(small, languages)
        found["sts"] = f"STS-B {_SPLIT}, {', '.join(languages)}, {whole['rows']} rows"
        scores = {"languages": (whole["mean"], less["mean"])}
        if "english" in whole["cross"]:
            scores["with_english"] = (whole["cross"]["english"], less["cross"]["english"])
        for name, (before, after) in scores.items():
            found[name] = {"fp32": before, "int8": after}
            lost = round(before - after, 2)
            if not lost <= limits.loss:
                where = {"languages": "within languages", "with_english": "across languages, with English"}[name]
                raise ExportError(
                    f"quantized, the encoder's Spearman on STS-B {_SPLIT} {where} is {after:.2f}, {lost:.2f} "
                    f"under fp32's {before:.2f}, limit {limits.loss:g}; try --quantization int8-weights"
                )
    else:
        full, part = exact.embed(texts), small.embed(texts)
    found["cosine_with_fp32"] = round(float(cosine(full, part).mean()), 5)
    if not found["cosine_with_fp32"] >= limits.cosine:
        raise ExportError(
            f"quantized, the encoder's vectors have a mean cosine of {found['cosine_with_fp32']:.4f} with fp32's, "
            f"at least {limits.cosine:g} is needed; try --quantization int8-weights"
        )
    return found


def _measured(embedder: Embedder, languages: Sequence[str]) -> tuple[dict[str, Any], Floats]:
    """Figures on STS-B, and the vectors (N, D) of all its sentences in the order in which they were asked for."""
    seen: list[Floats] = []

    def embed(texts: Sequence[str]) -> Floats:
        seen.append(embedder.embed(texts))
        return seen[-1]

    figures = sts_spearman(embed, split=_SPLIT, languages=languages, limit=CHECK_ROWS)
    return figures, np.concatenate(seen)
