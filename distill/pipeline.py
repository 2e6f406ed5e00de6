"""The training job behind `onoma train-teacher`: piece vectors, masked pretraining, fine-tuning."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import AutoModelForTokenClassification, PreTrainedModel

from distill.batches import Batch
from distill.console import console
from distill.dataset import NO_TAG, Packed, concatenate
from distill.evaluation import evaluate
from distill.files import write_json
from distill.losses import label_loss
from distill.mixture import Mixture, data_hashes, data_licences, labelled, unlabelled
from distill.students import (
    WEIGHTS_FILE,
    load_student,
    parameter_count,
)
from distill.teachers import (
    TeacherConfig,
    build_on_body,
    build_teacher,
    init_embeddings,
    masked_language_loss,
    save_teacher,
)
from distill.tokenizer import MASK
from distill.torch_model import torch_tagger
from distill.training import Evaluate, LossFunction, Schedule, accelerator_for, choose_device, train
from distill.transfer import TutoredLoss
from distill.vectors import piece_vectors
from onoma.bundle import sha256

DEV_LANGUAGES = ("ar", "de", "en", "fi", "hi", "ja", "ka", "ru", "sw", "zh")


def dev_scorer(tokenizer: Tokenizer, *, limit: int = 200, languages: tuple[str, ...] = DEV_LANGUAGES) -> Evaluate:
    """Macro F1 on the first `limit` raw dev sentences of a few languages: a cheap look at how training goes."""

    def score(model: nn.Module) -> dict[str, float]:
        tagger = torch_tagger(model, tokenizer)
        result = evaluate(tagger, source="wikiann", languages=languages, split="dev", raw=True, limit=limit)
        whole = result["all"]
        return {"macro_f1": whole["macro_f1"], "worst": whole["worst"][1] if whole["worst"] else 0.0}

    return score


def _without_tags(data: Packed) -> Packed:
    return Packed(data.ids, np.full_like(data.tags, NO_TAG), data.offsets, data.language, data.languages)


def run_teacher(
    *,
    tokenizer_path: Path,
    out: Path,
    cache: Path,
    shape: TeacherConfig,
    schedule: Schedule,
    mixture: Mixture,
    pretraining: Schedule | None = None,
    vector_epochs: int = 0,
    body: Path | None = None,
    start: Path | None = None,
    tutor: Path | None = None,
    tutor_weight: float = 0.5,
    device_name: str = "auto",
    checkpoint_minutes: float = 5.0,
    evaluate_every: int = 5_000_000,
) -> None:
    """Build, pretrain (masked language model) and fine-tune a teacher; write a Hugging Face checkpoint to `out`.

    Started again with the same arguments it goes on where it stopped.

    :param pretraining: schedule of the masked-language stage; None to skip it.
    :param vector_epochs: epochs of piece vectors to start the embeddings from; 0 for none. Without effect on `start`,
        which brings embeddings of its own.
    :param body: a pretrained encoder to start from, with a new vocabulary.
    :param start: a checkpoint of an earlier run of this very shape to go on from.
    :param tutor: a trained student of the same vocabulary whose distribution joins the labels in fine-tuning.
    :raises ValueError: if accelerate or torchrun has started several processes.
    """
    began = time.monotonic()
    device = choose_device(device_name)
    if (processes := accelerator_for(device).num_processes) > 1:
        raise ValueError(f"a teacher is trained by one process, got {processes}; `onoma distill run` takes several")
    tokenizer = Tokenizer.from_file(str(tokenizer_path))
    vocabulary = tokenizer.get_vocab_size()
    data = labelled(mixture, tokenizer_path=tokenizer_path, cache=cache)
    size = f"{data.pieces / 1e6:.1f}M pieces, {len(data.languages)} languages"
    console.log(f"teacher: {len(data)} labelled examples, {size}")
    torch.manual_seed(schedule.seed)
    model: PreTrainedModel
    if start is not None:
        model = AutoModelForTokenClassification.from_pretrained(str(start))
    elif body is not None:
        model = build_on_body(body, vocabulary=vocabulary)
    else:
        model = build_teacher(shape, vocabulary=vocabulary)
    wants_vectors = vector_epochs > 0 and start is None
    text: Packed | None = None
    if pretraining is not None or wants_vectors:
        text = concatenate([data, unlabelled(mixture, tokenizer_path=tokenizer_path, cache=cache)])
    if wants_vectors and text is not None:
        width = int(model.get_input_embeddings().weight.shape[1])
        vectors = piece_vectors(text, vocabulary=vocabulary, width=width, epochs=vector_epochs, cache=cache)
        init_embeddings(model, torch.from_numpy(vectors))
    facts = {"model": model.config.to_diff_dict(), "start": str(start), "vectors": vector_epochs, "body": str(body)}
    mask_id = tokenizer.token_to_id(MASK)

    def mlm(module: nn.Module, batch: Batch) -> Tensor:
        assert isinstance(module, PreTrainedModel)
        return masked_language_loss(module, batch.ids, mask_id=mask_id)

    loss: LossFunction
    if tutor is None:

        def loss(module: nn.Module, batch: Batch) -> Tensor:
            logits = module(input_ids=batch.ids, attention_mask=batch.mask).logits
            return label_loss(logits.float(), batch.tags)

    else:
        loss = TutoredLoss(load_student(tutor), weight=tutor_weight)
        facts |= {"tutor": sha256(tutor / WEIGHTS_FILE), "tutor_weight": tutor_weight}

    if pretraining is not None and text is not None:
        train(
            model, _without_tags(text), mlm, schedule=pretraining, folder=out / "pretraining", device=device,
            name="pretraining", facts=facts, checkpoint_minutes=checkpoint_minutes,
        )
        facts["pretraining"] = asdict(pretraining)
    train(
        model, data, loss, schedule=schedule, folder=out / "finetuning", device=device, name="teacher", facts=facts,
        evaluate=dev_scorer(tokenizer), evaluate_every=evaluate_every, checkpoint_minutes=checkpoint_minutes,
    )
    model.to("cpu")
    save_teacher(model, tokenizer, out)
    write_json(
        out / "training.json",
        {
            "architecture": f"{model.config.model_type} {model.config.num_hidden_layers}x{model.config.hidden_size}",
            "parameters": parameter_count(model),
            "schedule": asdict(schedule),
            "pretraining": asdict(pretraining) if pretraining else None,
            "piece_vector_epochs": vector_epochs if wants_vectors else 0,
            "start": None if start is None else sha256(start / "model.safetensors"),
            "tutor": facts.get("tutor"),
            "tutor_weight": None if tutor is None else tutor_weight,
            "mixture": asdict(mixture),
            "pieces": data.pieces,
            "seed": schedule.seed,
            "minutes": round((time.monotonic() - began) / 60, 1),
            "data": data_hashes(mixture),
            "licences": data_licences(mixture),
            "tokenizer": sha256(tokenizer_path),
        },
    )
