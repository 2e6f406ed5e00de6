"""What the steps of a run are made from: tokenizer, labelled data, transfer set, dev, and the teacher's answers."""

from __future__ import annotations

import hashlib
import json
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from tokenizers import Tokenizer
from torch import Tensor

from distill import mixture as mixtures
from distill.alignment import Answers
from distill.console import console
from distill.corpora import as_text, read_split
from distill.dataset import Packed, concatenate, packed_split, sample, types_in_key, untagged
from distill.files import write_json
from distill.hugging_face import (
    HuggingFaceTeacher,
    answers_of,
    check_layer,
    check_same_labels,
    direct_ids,
    load_teacher,
)
from distill.monolingual import WithTransitions, load_teachers
from distill.recipe import Recipe
from distill.store import Store, first_process, locked
from distill.teacher_cache import StoredTargets, TargetSource, teacher_targets
from distill.tokenizer import save_tokenizer
from distill.vocabulary import coverage, piece_counts, trim
from onoma.bundle import TOKENIZER_FILE, sha256
from onoma.labels import LabelSet
from onoma.word_table import MARK

COVERAGE = "coverage.json"


class Materials:
    """Data and teacher of a resolved recipe, each made when it is first asked for.

    :param languages: the labels of these languages only (strategy D0, and teachers of one language).
    """

    def __init__(
        self,
        recipe: Recipe,
        *,
        store: Store,
        cache: Path,
        device: torch.device,
        languages: tuple[str, ...] = (),
    ) -> None:
        self.recipe, self.store, self.cache, self.device, self.languages = recipe, store, cache, device, languages
        self._found: dict[tuple[str, tuple[int, ...]], TargetSource] = {}  # by digest of the data, and layers
        # Folders of the recipe's own teachers by language, where it has [teachers] and these are trained.
        self.teachers: dict[str, Path] = {}

    @cached_property
    def whole_tokenizer(self) -> Path:
        """The tokenizer that the recipe names."""
        path = Path(self.recipe.tokenizer)
        if path.is_dir():
            path = path / TOKENIZER_FILE
        if not path.is_file():
            raise FileNotFoundError(f"no tokenizer at {path} (recipe key tokenizer)")
        return path

    @cached_property
    def tokenizer_path(self) -> Path:
        """The student's tokenizer: that one, or trimmed to what D_l and D_u hold."""
        minimum = self.recipe.student.minimum_count
        if not minimum:
            return self.whole_tokenizer
        parts = [self._labelled(self.whole_tokenizer), self._unlabelled(self.whole_tokenizer)]
        data = concatenate([part for part in parts if part is not None])
        labels = self.recipe.labels
        facts: dict[str, Any] = {"tokenizer": sha256(self.whole_tokenizer), "data": data.digest, "minimum": minimum}
        facts |= labels.other_task

        def build(folder: Path) -> None:
            whole = Tokenizer.from_file(str(self.whole_tokenizer))
            smaller = trim(whole, piece_counts(data, whole.get_vocab_size()), minimum=minimum)
            save_tokenizer(smaller, folder / TOKENIZER_FILE)
            texts = {
                language: [as_text(sentence, raw=True)[0] for sentence in read_split(labels.source, language, "dev")]
                for language in self.recipe.languages
            }
            write_json(folder / COVERAGE, coverage(whole, smaller, texts))

        return self.store.get("vocabulary", facts, build) / TOKENIZER_FILE

    @property
    def coverage(self) -> dict[str, dict[str, float]] | None:
        """What trimming did to each language's dev sentences; None where nothing was trimmed."""
        if not self.recipe.student.minimum_count:
            return None
        path = self.tokenizer_path.with_name(COVERAGE)
        found: dict[str, dict[str, float]] = json.loads(path.read_text(encoding="utf-8"))
        return found

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The student's tokenizer."""
        return Tokenizer.from_file(str(self.tokenizer_path))

    @cached_property
    def teacher(self) -> HuggingFaceTeacher:
        """The teacher.

        :raises ValueError: if it has other labels than the student, or not the recipe's layer.
        """
        own = self.recipe.teacher
        assert own.path is not None  # see distill.fitting
        teacher = load_teacher(own.path)
        check_same_labels(teacher.labels, self.recipe.label_set.tags)
        check_layer(teacher, own.layer)
        return teacher

    @cached_property
    def embeddings(self) -> HuggingFaceTeacher:
        """The checkpoint whose embeddings the student starts from: the teacher, or another."""
        path = self.recipe.student.embeddings
        return self.teacher if path is None else load_teacher(path)

    @cached_property
    def taught_by(self) -> str:
        """What tells the teacher's answers from another's: its fingerprint, or the names of the recipe's teachers."""
        if self.recipe.teachers is None:
            return self.teacher.fingerprint
        names = sorted((language, folder.name) for language, folder in self.teachers.items())
        return hashlib.sha256(json.dumps(names).encode()).hexdigest()

    @cached_property
    def keeps_texts(self) -> bool:
        """Whether the teacher cannot be asked about the student's pieces, so that it must see the text itself."""
        return self.recipe.teachers is None and direct_ids(self.teacher, self.tokenizer) is None

    def _alone(self, what: str) -> AbstractContextManager[None]:
        """Files of the cache are made by one process at a time; the others then find them there. Not to be nested."""
        return locked(self.cache / "locks" / what)

    def _labelled(self, tokenizer: Path, *, texts: bool = False) -> Packed:
        mixture = self.recipe.mixture(texts=texts, languages=self.languages)
        with self._alone("packed"):
            return mixtures.labelled(mixture, tokenizer_path=tokenizer, cache=self.cache)

    def _unlabelled(self, tokenizer: Path, *, texts: bool = False) -> Packed | None:
        """D_u."""
        mixture = self.recipe.transfer_mixture(texts=texts)
        parts = []
        with self._alone("packed"):
            if mixture.wikiann != 0 or mixture.gold or mixture.massive:
                parts.append(untagged(mixtures.labelled(mixture, tokenizer_path=tokenizer, cache=self.cache)))
            if mixture.text:
                parts.append(mixtures.unlabelled(mixture, tokenizer_path=tokenizer, cache=self.cache))
        if not parts:
            return None
        pool = concatenate(parts)
        size = self.recipe.transfer.pieces
        return pool if size is None else sample(pool, size, seed=0)

    @cached_property
    def labelled(self) -> Packed:
        """D_l."""
        return self._labelled(self.tokenizer_path)

    @cached_property
    def unlabelled(self) -> Packed:
        """D_u; the sentences of D_l without their labels if there is no other."""
        made = self._unlabelled(self.tokenizer_path, texts=self.keeps_texts)
        if made is None:
            made = untagged(self._labelled(self.tokenizer_path, texts=self.keeps_texts))
        console.log(f"{self.recipe.name}: {made.pieces / 1e6:.2f}M pieces in the transfer set")
        return made

    @cached_property
    def everything(self) -> Packed:
        """D_l with its labels, and D_u, if there is one of its own."""
        own = self._labelled(self.tokenizer_path, texts=self.keeps_texts)
        return concatenate([own, self.unlabelled]) if self.recipe.transfer.given else own

    def of(self, name: Literal["labelled", "unlabelled", "everything"]) -> Packed:
        """The data of that name."""
        data: Packed = getattr(self, name)
        return data

    @cached_property
    def dev(self) -> Packed:
        """Labelled dev examples of the languages the student is judged on."""
        options: dict[str, Any] = {
            "tokenizer_path": self.tokenizer_path,
            "limit": self.recipe.evaluation.dev,
            "texts": self.keeps_texts_for_dev,
            "types": self.recipe.labels.types,
        }
        languages, source = self.languages or self.recipe.languages, self.recipe.labels.source
        with self._alone("packed"):
            return concatenate(
                [packed_split(source, one, "dev", raw=True, cache=self.cache, **options) for one in languages]
            )

    @property
    def keeps_texts_for_dev(self) -> bool:
        """Like `keeps_texts`, without loading a teacher that the strategy does not ask."""
        return self.recipe.schedule.taught and self.keeps_texts

    def targets(self, data: Packed, *, representation: bool) -> TargetSource:
        """The teacher's answers for `data`: logits, and the layer's states if asked for.

        Where answers are stored, strategies with a stage of representations keep both from the start, so that the
        teacher runs once for each data; what was found is kept for the steps to come.
        """
        own, schedule = self.recipe.teacher, self.recipe.schedule
        on_disk = own.cache == "disk" or own.engine == "ray"  # Ray's actors hand over their answers as files
        staged = schedule.strategy > "D3" and schedule.representation > 0
        both = representation or (staged and (on_disk or own.cache == "memory"))
        layers = (own.layer,) if both else ()
        key = data.digest, layers
        if key not in self._found:
            student = self.tokenizer_path  # which takes a lock itself
            self._found[key] = (self._shared if on_disk else self._answered)(data, layers, student)
        found = self._found[key]
        return found if representation or not isinstance(found, StoredTargets) else found.without_states()

    def _shared(self, data: Packed, layers: tuple[int, ...], student: Path) -> TargetSource:
        """Answers on disk: in a distributed run the first process asks the teacher, the others find them."""
        first, wait = first_process()
        if not first:
            wait()
        with self._alone(f"teacher-{data.digest}"):
            found = self._answered(data, layers, student)
        if first:
            wait()
        return found

    def _answered(self, data: Packed, layers: tuple[int, ...], student: Path) -> TargetSource:
        own, labels = self.recipe.teacher, self.recipe.label_set
        fingerprint = f"{self.taught_by} {layers} {sha256(student)}"
        if other := types_in_key(labels.types):  # whose order is that of the answers' columns
            fingerprint += f" {other}"
        if self.device.type != "cpu":  # where teachers run in bf16
            fingerprint += f" {self.device.type}"
        if self.recipe.teachers is not None:
            several = load_teachers(self.teachers, device=self.device)
            found = teacher_targets(several, data, mode=own.cache, cache=self.cache, fingerprint=fingerprint)
            return WithTransitions(found, data, several)
        if own.engine == "local":
            answers = _answers(self.teacher, self.tokenizer, self.device, layers, labels)
            return teacher_targets(answers, data, mode=own.cache, cache=self.cache, fingerprint=fingerprint)
        from distill.cluster import label_with_ray

        path, tokenizer = own.path, str(student.absolute())
        assert path is not None
        place = str(Path(path).absolute()) if Path(path).exists() else path
        device = torch.device(self.device.type)  # an actor sees no GPU but its own

        def load() -> Answers:
            return _answers(load_teacher(place), Tokenizer.from_file(tokenizer), device, layers, labels)

        return label_with_ray(
            load, data, cache=self.cache, fingerprint=fingerprint, workers=own.workers, device=device
        )

    @cached_property
    def chosen(self) -> Tensor | None:
        """(V,) on which pieces the teacher is imitated; None for all.

        :raises ValueError: if these are to be the first of words, and none of the vocabulary's begins one.
        """
        if self.recipe.loss.pieces == "all":
            return None
        begins = torch.zeros(self.tokenizer.get_vocab_size(), dtype=torch.bool)
        for piece, at in self.tokenizer.get_vocab().items():
            begins[at] = piece.startswith(MARK)
        if not bool(begins.any()):
            raise ValueError(f"loss.pieces is 'first', but no piece of {self.tokenizer_path} begins with {MARK!r}")
        return begins


def _answers(
    teacher: HuggingFaceTeacher,
    tokenizer: Tokenizer,
    device: torch.device,
    layers: tuple[int, ...],
    labels: LabelSet,
) -> Answers:
    return answers_of(teacher, student_tokenizer=tokenizer, student_labels=labels, device=device, layers=layers)
