from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from toydata import random_packed

from distill.alignment import Targets
from distill.batches import Batch, gather
from distill.crf import Crf
from distill.dataset import LABELS, concatenate, untagged
from distill.losses import hard_loss, kl_loss, label_loss
from distill.structure import STRUCTURAL, likelihood_loss, structural_loss
from distill.students import Output, Student, StudentConfig
from distill.transfer import JointLoss, Objective, TutoredLoss

DATA = random_packed([3, 5, 3, 2, 5, 4])
BOTH = concatenate([DATA, untagged(DATA)])
BATCHES = pytest.mark.parametrize(
    "batch",
    [gather(BOTH, np.array(index)) for index in ((1, 4), (0, 8), (6,))],
    ids=["labelled", "mixed", "unlabelled"],
)


class Table(nn.Module):
    """A student that looks at nothing but the piece, and counts how often it is asked.

    :param crf: give it transitions.
    """

    def __init__(self, *, crf: bool = False) -> None:
        super().__init__()
        torch.manual_seed(8)
        self.table, self.states = nn.Embedding(40, 7), nn.Embedding(40, 3)
        self.crf = Crf(7) if crf else None
        if self.crf is not None:
            for part in self.crf.parameters():
                nn.init.normal_(part)
        self.calls = 0

    def forward(self, ids: Tensor, mask: Tensor, *, full: bool = False) -> Any:
        assert bool(mask.all())
        self.calls += 1
        logits = self.table(ids)
        return Output(logits, self.states(ids), *(self.crf() if self.crf else ())) if full else logits


class Fixed:
    """Targets that depend on the piece alone: logits, and the states of the layer 2 where there are some."""

    def __init__(self, *, layers: tuple[int, ...] = (2,)) -> None:
        torch.manual_seed(4)
        self.table, self.states, self.layers = torch.randn(40, 7), torch.randn(40, 3), layers

    def __call__(self, batch: Batch) -> Targets:
        return Targets(self.table[batch.ids], {layer: self.states[batch.ids] for layer in self.layers})


def centre(logits: Tensor) -> Tensor:
    return logits - logits.mean(dim=-1, keepdim=True)


def by_hand(student: Table, teacher: Fixed, batch: Batch, chosen: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
    """Labels', representation's and logits' part of eq. 7, piece by piece; targets (40, 3) of the representation.

    Of pieces that are not chosen (40,) only the labels count.
    """
    labels, likeness, logits = [], [], []
    for row_ids, row_tags in zip(batch.ids.tolist(), batch.tags.tolist(), strict=True):
        for piece, tag in zip(row_ids, row_tags, strict=True):
            own = student.table.weight[piece]
            if tag >= 0:
                labels.append(-own.log_softmax(dim=-1)[tag])
            if not chosen[piece]:
                continue
            logits.append(0.5 * ((centre(own) - centre(teacher.table[piece])) ** 2).sum())
            likeness.append(((student.states.weight[piece] - targets[piece]) ** 2).sum() / 3)
    return tuple(sum(part, torch.zeros(())) / max(1, len(part)) for part in (labels, likeness, logits))


@BATCHES
@pytest.mark.parametrize("weights", [(1, 1, 1), (0.5, 3, 0.25), (0, 2, 1), (2, 0, 1), (1, 0, 0), (0, 1, 0), (0, 0, 1)])
def test_the_joint_loss_is_the_weighted_sum(batch: Batch, weights: tuple[float, float, float]) -> None:
    student, teacher = Table(), Fixed()
    alpha, beta, gamma = weights
    joint = JointLoss(Objective(labels=alpha, representation=beta, logits=gamma, layer=2), teacher)(student, batch)
    parts = by_hand(student, teacher, batch, torch.ones(40), teacher.states)
    torch.testing.assert_close(joint, sum(weight * part for weight, part in zip(weights, parts, strict=True)))
    assert student.calls == 1, "one call of the student gives all that is needed"


@BATCHES
def test_targets_are_standardised_by_dimension(batch: Batch) -> None:
    student, teacher = Table(), Fixed()
    standard = torch.tensor([[1.0, -2.0, 0.5], [2.0, 0.25, 4.0]])
    joint = JointLoss(Objective(representation=1.0, layer=2), teacher, standard=standard)(student, batch)
    targets = (teacher.states - standard[0]) / standard[1]
    torch.testing.assert_close(joint, by_hand(student, teacher, batch, torch.ones(40), targets)[1])
    plain = JointLoss(Objective(representation=1.0, layer=2), teacher)(student, batch)
    assert not torch.isclose(plain, joint)
    kld = Objective(representation=1.0, layer=2, likeness="kld")
    with_standard = JointLoss(kld, teacher, standard=standard)(student, batch)
    assert torch.equal(with_standard, JointLoss(kld, teacher)(student, batch)), "the paper's divergence takes them raw"


@BATCHES
def test_the_teacher_is_imitated_on_chosen_pieces_and_all_labels_count(batch: Batch) -> None:
    student, teacher = Table(), Fixed()
    chosen = torch.zeros(40, dtype=torch.bool)
    chosen[batch.ids[0, ::2]] = True
    joint = JointLoss(Objective(labels=2.0, representation=3.0, logits=0.5, layer=2), teacher, chosen=chosen)
    loss = joint(student, batch)
    labels, likeness, logits = by_hand(student, teacher, batch, chosen, teacher.states)
    torch.testing.assert_close(loss, 2 * labels + 3 * likeness + 0.5 * logits)
    loss.backward()
    learned = {piece for piece in range(40) if student.table.weight.grad[piece].any()}  # type: ignore[index]
    of_teacher = set(batch.ids.flatten().tolist()) & set(chosen.nonzero().flatten().tolist())
    assert learned == of_teacher | set(batch.ids[batch.tags >= 0].tolist())
    none = JointLoss(joint.objective, teacher, chosen=torch.zeros(40, dtype=torch.bool))(student, batch)
    torch.testing.assert_close(none, 2 * labels)


PARTS = {
    "mse": Objective(logits=1.0),
    "kl": Objective(logits=1.0, imitation="kl", temperature=2.0),
    "hard": Objective(logits=1.0, imitation="hard"),
    "representation": Objective(representation=1.0, layer=2),
    "kld": Objective(representation=1.0, layer=2, likeness="kld"),
}


def silent(teacher: Fixed, pieces: list[int]) -> Fixed:
    """The same teacher without an opinion of some pieces."""
    teacher.table[pieces], teacher.states[pieces] = torch.nan, torch.nan
    return teacher


@pytest.mark.parametrize("part", PARTS)
def test_where_the_teacher_has_no_opinion_nothing_is_imitated(part: str) -> None:
    batch = gather(DATA, np.array([1, 4]))
    student, standard = Table(), torch.tensor([[1.0, -2.0, 0.5], [2.0, 0.25, 4.0]])
    quiet = sorted(set(batch.ids[:, ::2].flatten().tolist()))
    heard = torch.ones(40, dtype=torch.bool)
    heard[quiet] = False
    want = JointLoss(PARTS[part], Fixed(), standard=standard, chosen=heard)(student, batch)
    want.backward()
    gradients = [weight.grad for weight in student.parameters()]
    assert float(want.detach()) != 0
    other = Table()
    got = JointLoss(PARTS[part], silent(Fixed(), quiet), standard=standard)(other, batch)
    got.backward()
    assert torch.equal(got, want)
    for one, two in zip(gradients, other.parameters(), strict=True):
        assert (one is None and two.grad is None) or torch.equal(one, two.grad)  # type: ignore[arg-type]


@pytest.mark.parametrize("part", PARTS)
def test_a_batch_without_any_opinion_gives_zero(part: str) -> None:
    batch = gather(DATA, np.array([1, 4]))
    student, teacher = Table(), silent(Fixed(), list(range(40)))
    standard = torch.tensor([[1.0, -2.0, 0.5], [2.0, 0.25, 4.0]])
    loss = JointLoss(PARTS[part], teacher, standard=standard)(student, batch)
    loss.backward()
    assert float(loss.detach()) == 0
    learned = student.states if PARTS[part].representation else student.table
    assert learned.weight.grad is not None and not learned.weight.grad.any()
    labels = JointLoss(replace(PARTS[part], labels=1.0), teacher, standard=standard)(student, batch)
    torch.testing.assert_close(labels, label_loss(student(batch.ids, batch.mask), batch.tags))


@BATCHES
def test_other_imitations_and_labels_alone(batch: Batch) -> None:
    student, teacher = Table(), Fixed()
    output, target = student(batch.ids, batch.mask), teacher.table[batch.ids]
    soft = JointLoss(Objective(logits=1.5, imitation="kl", temperature=2.0), teacher)(student, batch)
    torch.testing.assert_close(soft, 1.5 * kl_loss(output, target, temperature=2.0))
    hard = JointLoss(Objective(logits=1.0, imitation="hard"), teacher)(student, batch)
    torch.testing.assert_close(hard, hard_loss(output, target))
    alone = JointLoss(Objective(labels=1.0), None)(student, batch)
    torch.testing.assert_close(alone, label_loss(student(batch.ids, batch.mask), batch.tags))


@pytest.mark.parametrize("objective", [Objective(logits=1.0), Objective(representation=1.0)])
def test_a_teacher_that_is_needed_must_be_there(objective: Objective) -> None:
    with pytest.raises(ValueError, match="the teacher's targets are missing"):
        JointLoss(objective, None)


class Chained(Fixed):
    """The same teacher with transitions, others for each sentence."""

    def __call__(self, batch: Batch) -> Targets:
        found = super().__call__(batch)
        parts = torch.randn(12, 9, 7, generator=torch.Generator().manual_seed(6))[torch.from_numpy(batch.index)]
        return replace(found, transitions=parts[:, :7], start=parts[:, 7], end=parts[:, 8])


@BATCHES
@pytest.mark.parametrize("crf", [True, False])
@pytest.mark.parametrize("kind", STRUCTURAL)
def test_sequences_are_learned_from_the_teacher_and_from_the_labels(batch: Batch, crf: bool, kind: Any) -> None:
    student, teacher = Table(crf=crf), Chained()
    options: dict[str, Any] = {"temperature": 1.5, "count": 3}
    objective = Objective(labels=0.5, logits=2.0, imitation=kind, temperature=1.5, best=3)
    found = JointLoss(objective, teacher)(student, batch)
    output: Output = student(batch.ids, batch.mask, full=True)
    labels = likelihood_loss(output.chain(), batch.tags) if crf else label_loss(output.logits, batch.tags)
    taught = structural_loss(kind, output.chain(), teacher(batch).chain, **options)
    assert float(taught.detach()) > 0
    torch.testing.assert_close(found, 0.5 * labels.float() + 2 * taught.float())
    assert found.dtype == torch.float32
    for other in (replace(objective, temperature=1.0), replace(objective, best=1)):
        same = torch.isclose(JointLoss(other, teacher)(student, batch), found)
        asked = "top" in kind if other.temperature == 1.5 else "posterior" in kind or kind == "structural"
        assert bool(same) != asked, "each has its effect where the loss asks for it"


@pytest.mark.parametrize("crf", [True, False])
@pytest.mark.parametrize("kind", STRUCTURAL)
def test_of_a_sentence_with_gaps_there_are_no_sequences(crf: bool, kind: Any) -> None:
    objective, whole = Objective(logits=1.0, imitation=kind, temperature=1.5, best=2), gather(DATA, np.array([1, 4]))
    (quiet,) = set(whole.ids[0].tolist()) - set(whole.ids[1].tolist() + whole.ids[0, 1:].tolist())
    student, teacher = Table(crf=crf), silent(Chained(), [quiet])
    loss = JointLoss(objective, teacher)(student, whole)
    alone = JointLoss(objective, Chained())(student, gather(DATA, np.array([4])))
    torch.testing.assert_close(loss, alone)
    loss.backward()
    heard = {piece for piece in range(40) if student.table.weight.grad[piece].any()}  # type: ignore[index]
    assert heard == set(whole.ids[1].tolist())
    nothing = JointLoss(objective, silent(Chained(), list(range(40))))(student, whole)
    assert float(nothing.detach()) == 0 and nothing.requires_grad


def test_the_weight_moves_from_the_teacher_to_the_labels() -> None:
    own = Objective(labels=2.0, representation=3.0, logits=4.0, imitation="top-k", best=7, layer=2, annealed=0.5)
    for progress, weights in ((0, (0, 3, 4)), (0.125, (0.5, 2.25, 3)), (0.5, (2, 0, 0)), (0.9, (2, 0, 0))):
        found = own.at(progress)
        assert (found.labels, found.representation, found.logits) == weights
        assert replace(found, labels=2.0, representation=3.0, logits=4.0) == own, "nothing else changes"
    constant = replace(own, annealed=0.0)
    assert constant.at(0.7) == constant


def test_an_annealed_loss_follows_the_training() -> None:
    batch = gather(BOTH, np.array([0, 8]))
    student, teacher = Table(crf=True), Chained()
    objective = Objective(labels=1.0, logits=1.0, imitation="posterior", annealed=0.8)
    taught, labels = (JointLoss(replace(objective, annealed=0.0, **{off: 0.0}), teacher)(student, batch)
                      for off in ("labels", "logits"))  # fmt: skip
    for progress, share in ((0.0, 1.0), (0.2, 0.75), (0.6, 0.25)):
        found = JointLoss(objective, teacher)(student, replace(batch, progress=progress))
        torch.testing.assert_close(found, share * taught + (1 - share) * labels)

    def gone(batch: Batch) -> Targets:
        raise AssertionError("a teacher without weight is asked")

    torch.testing.assert_close(JointLoss(objective, gone)(student, replace(batch, progress=0.8)), labels)


ALONE = {
    "labels that there are none of": Objective(labels=1.0),
    "before labels count": Objective(labels=1.0, logits=1.0, imitation="structural", annealed=1.0),
    "emissions alone": Objective(logits=1.0, imitation="emission"),
    "sequences": Objective(logits=1.0, imitation="top-wk"),
    "an unlabelled sentence at the end": Objective(labels=1.0, logits=1.0, imitation="posterior", annealed=0.25),
}


@pytest.mark.parametrize("silence", [False, True])
@pytest.mark.parametrize("objective", ALONE.values(), ids=ALONE)
def test_no_gradient_is_ever_missing(objective: Objective, silence: bool) -> None:
    """Processes that train together wait for the gradient of every parameter in every step."""
    batch = replace(gather(BOTH, np.array([6])), progress=0.5 if objective.annealed == 0.25 else 0.0)
    student = Student(StudentConfig(40, 4, 3, LABELS.tags, decoder="crf"))
    teacher = silent(Chained(), list(range(40)) if silence else [])
    JointLoss(objective, teacher)(student, batch).backward()
    assert [name for name, weight in student.named_parameters() if weight.grad is None] == []


def test_tutored_loss_by_hand() -> None:
    batch = gather(DATA, np.array([0]))
    table = torch.randn(40, 7, generator=torch.Generator().manual_seed(4))

    class Teacher(nn.Module):
        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
            return SimpleNamespace(logits=table[input_ids])

    model = Teacher()

    class Tutor(nn.Module):
        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
            assert not self.training and not torch.is_grad_enabled()
            return torch.arange(7.0).expand(*input_ids.shape, 7)

    logs = model(batch.ids, batch.mask).logits.log_softmax(dim=-1)[0]
    soft = -(logs * torch.arange(7.0).softmax(0)).sum(-1).mean()
    hard = -logs[torch.arange(len(logs)), batch.tags[0]].mean()
    for weight in (0.0, 0.25, 1.0):
        loss = TutoredLoss(Tutor(), weight=weight)(model, batch)
        torch.testing.assert_close(loss, weight * soft + (1 - weight) * hard)
    with pytest.raises(ValueError, match=r"must be in 0\.\.1, got 1\.5"):
        TutoredLoss(Tutor(), weight=1.5)
