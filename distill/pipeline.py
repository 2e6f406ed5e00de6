"""The two training jobs behind the command line: a teacher, and a student distilled from it."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import AutoModelForTokenClassification, PreTrainedModel

from distill.batches import Batch
from distill.console import console
from distill.corpora import WIKIANN_45, read_split
from distill.dataset import LABELS, NO_TAG, Packed, concatenate, sample
from distill.evaluation import evaluate
from distill.files import write_json
from distill.losses import Imitation
from distill.mixture import TEXT_SOURCES, Mixture, data_hashes, data_licences, labelled, unlabelled
from distill.students import (
    WEIGHTS_FILE,
    BiLstmTagger,
    StudentConfig,
    init_embedding_by_svd,
    load_student,
    parameter_count,
    save_student,
)
from distill.teacher_cache import Mode, teacher_targets
from distill.teachers import (
    TeacherConfig,
    build_on_body,
    build_teacher,
    init_embeddings,
    masked_language_loss,
    save_teacher,
    tagging_loss,
)
from distill.tokenizer import MASK
from distill.torch_model import torch_tagger
from distill.training import Evaluate, LossFunction, Schedule, choose_device, train
from distill.transfer import TransferLoss, TutoredLoss, supervised_loss
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
    """
    began = time.monotonic()
    device = choose_device(device_name)
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
            return tagging_loss(module, batch.ids, batch.tags)

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
            "licences": data_licences(),
            "tokenizer": sha256(tokenizer_path),
        },
    )


def run_student(
    *,
    teacher: Path,
    tokenizer_path: Path,
    out: Path,
    cache: Path,
    embedding: int,
    hidden: int,
    transfer: Schedule,
    labels: Schedule,
    mixture: Mixture,
    label_weight: float = 0.0,
    transfer_pieces: int | None = None,
    transfer_loss: Imitation = "mse",
    temperature: float = 1.0,
    cache_mode: Mode = "disk",
    start: Path | None = None,
    device_name: str = "auto",
    checkpoint_minutes: float = 5.0,
    evaluate_every: int = 10_000_000,
) -> None:
    """Distil a BiLSTM student: teacher logits on labelled and unlabelled text, then gold labels. Resumable.

    :param transfer: schedule of the imitation, and `labels` of what follows; a step of no tokens is left out.
    :param transfer_pieces: size of the transfer set, drawn from labelled and unlabelled text; None for all of it.
    :param label_weight: weight of the label loss beside the logit loss in the first step.
    :param transfer_loss: how the teacher is imitated; see distill.losses. The temperature is for `kl`.
    :param cache_mode: where the teacher's answers lie; see distill.teacher_cache.
    :param start: a student to go on from in its own shape, instead of the teacher's embeddings.
    """
    began = time.monotonic()
    device = choose_device(device_name)
    tokenizer = Tokenizer.from_file(str(tokenizer_path))
    teacher_model: PreTrainedModel = AutoModelForTokenClassification.from_pretrained(str(teacher))
    theirs = tuple(teacher_model.config.id2label[column] for column in range(teacher_model.config.num_labels))
    if theirs != LABELS.tags:
        raise ValueError(f"labels differ: the teacher has {list(theirs)}, the student {list(LABELS.tags)}")
    own = teacher / "tokenizer.json"
    if own.exists() and Tokenizer.from_file(str(own)).get_vocab() != tokenizer.get_vocab():
        raise ValueError(f"teacher and student must share one vocabulary: {own} and {tokenizer_path} differ")
    gold = labelled(mixture, tokenizer_path=tokenizer_path, cache=cache)
    data = gold
    if mixture.text and transfer.tokens:
        data = concatenate([gold, unlabelled(mixture, tokenizer_path=tokenizer_path, cache=cache)])
    if transfer_pieces is not None:
        data = sample(data, transfer_pieces, seed=transfer.seed)
    console.log(f"student: {data.pieces / 1e6:.1f}M pieces to transfer on, {gold.pieces / 1e6:.1f}M labelled")
    teacher_hash = sha256(teacher / "model.safetensors")
    torch.manual_seed(transfer.seed)
    config = StudentConfig(tokenizer.get_vocab_size(), embedding, hidden, LABELS.tags)
    student = BiLstmTagger(config) if start is None else load_student(start)
    config = student.config
    if start is None:
        init_embedding_by_svd(student, teacher_model.get_input_embeddings().weight.detach())
    imitation: dict[str, Any] = {"kind": transfer_loss, "temperature": temperature}
    facts = {"teacher": teacher_hash, "student": asdict(config), "label_weight": label_weight, "start": str(start)}
    facts |= imitation
    score = dev_scorer(tokenizer)
    if transfer.tokens:
        targets = teacher_targets(
            teacher_model, data, mode=cache_mode, cache=cache, fingerprint=teacher_hash, device=device
        )
        loss = TransferLoss(targets, imitation=1.0, labels=label_weight, **imitation)
        train(
            student, data, loss, schedule=transfer,
            folder=out / "transfer", device=device, name="transfer", facts=facts, evaluate=score,
            evaluate_every=evaluate_every, checkpoint_minutes=checkpoint_minutes,
        )
    del teacher_model
    after_transfer = score(student.to("cpu").eval())
    if labels.tokens:
        train(
            student, gold, supervised_loss, schedule=labels,
            folder=out / "labels", device=device, name="labels", facts=facts | {"after": asdict(transfer)},
            evaluate=score, evaluate_every=evaluate_every, checkpoint_minutes=checkpoint_minutes,
        )
    student.to("cpu").eval()
    after_labels = score(student)
    save_student(student, out)
    (out / "tokenizer.json").write_bytes(tokenizer_path.read_bytes())
    write_json(
        out / "training.json",
        {
            "architecture": f"bilstm E={config.embedding} H={config.hidden}",
            "parameters": parameter_count(student),
            "teacher": teacher_hash,
            "start": None if start is None else sha256(start / WEIGHTS_FILE),
            "transfer": asdict(transfer),
            "labels": asdict(labels),
            "label_weight": label_weight,
            "transfer_loss": imitation,
            "dev_after_transfer": after_transfer,
            "dev_after_labels": after_labels,
            "mixture": asdict(mixture),
            "transfer_pieces": data.pieces,
            "label_pieces": gold.pieces,
            "seed": transfer.seed,
            "minutes": round((time.monotonic() - began) / 60, 1),
            "data": data_hashes(mixture),
            "licences": data_licences(),
            "unlabelled_text": TEXT_SOURCES if mixture.text else None,
            "tokenizer": sha256(tokenizer_path),
            "dev_split_languages": list(DEV_LANGUAGES),
            "languages": WIKIANN_45,
        },
    )
    read_split.cache_clear()
