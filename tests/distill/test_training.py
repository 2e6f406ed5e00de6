from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from toydata import Killed, killing_loss, random_packed

from distill.alignment import Targets
from distill.batches import Batch, epoch_batches
from distill.dataset import LABELS, Packed
from distill.losses import label_loss
from distill.students import Decoder, Student, StudentConfig
from distill.training import (
    Schedule,
    _State,
    _stream,
    accelerator_for,
    build_optimizer,
    choose_device,
    fingerprint,
    train,
)

LENGTHS = [5, 3, 8, 5, 1, 3, 8, 2, 6, 4] * 4
SCHEDULE = Schedule(tokens=1200, batch_tokens=24, learning_rate=1e-2)
CPU = torch.device("cpu")


def build(decoder: Decoder = "softmax") -> Student:
    torch.manual_seed(7)
    return Student(
        StudentConfig(vocabulary=40, embedding=8, hidden=8, labels=LABELS.tags, dropout=0.3, decoder=decoder)
    )


def taught(batch: Batch) -> Targets:
    """What a CRF says that likes a piece's own tag, and the same tag again."""
    many = len(batch.ids)
    own = torch.eye(7)[batch.ids % 7]
    return Targets(own, transitions=torch.eye(7).expand(many, -1, -1), start=own[:, 0], end=own[:, -1])


def run(folder: Path, *, data: Packed | None = None, stop_at: int | None = None, **options: Any) -> nn.Module:
    """Train from scratch or from the folder's checkpoint; `stop_at` kills the run in that step."""
    options = {"schedule": SCHEDULE, "checkpoint_minutes": 0, "device": CPU, **options}
    data = random_packed(LENGTHS) if data is None else data
    return train(build(), data, killing_loss(stop_at), folder=folder, **options)


def same_weights(one: nn.Module, two: nn.Module) -> bool:
    theirs = two.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in one.state_dict().items())


@torch.no_grad()
def accuracy(model: nn.Module) -> float:
    ids = torch.arange(3, 40)[None]
    return float((model(ids, torch.ones_like(ids)).argmax(-1) == ids % 7).float().mean())


def test_it_learns(tmp_path: Path) -> None:
    schedule = Schedule(tokens=40_000, batch_tokens=128, learning_rate=2e-2)
    model = run(tmp_path, schedule=schedule, checkpoint_minutes=10)
    assert not model.training
    assert accuracy(build().eval()) < 0.5 < 0.95 < accuracy(model)


@pytest.mark.parametrize("stops", [(2,), (9, 3), (20, 20), (1,)])
def test_a_killed_run_resumes_to_the_very_same_weights(tmp_path: Path, stops: tuple[int, ...]) -> None:
    whole = run(tmp_path / "whole")
    for stop in stops:
        with pytest.raises(Killed):
            run(tmp_path / "broken", stop_at=stop)
        torch.rand(stop)  # the state of the world differs when it comes back
    assert same_weights(run(tmp_path / "broken"), whole)


def test_every_batch_knows_how_far_the_training_is(tmp_path: Path) -> None:
    def progress(folder: Path, stop_at: int = 0) -> list[float]:
        seen: list[float] = []

        def loss(model: nn.Module, batch: Batch) -> Tensor:
            seen.append(batch.progress)
            if len(seen) == stop_at:
                raise Killed
            return label_loss(model(batch.ids, batch.mask), batch.tags)

        data = random_packed(LENGTHS)
        with pytest.raises(Killed) if stop_at else nullcontext():
            train(build(), data, loss, schedule=SCHEDULE, folder=folder, checkpoint_minutes=0, device=CPU)
        return seen

    whole = progress(tmp_path / "whole")
    assert whole[0] == 0 and whole == sorted(set(whole)) and 0.95 < whole[-1] < 1
    broken = progress(tmp_path / "broken", stop_at=9)
    assert broken[:-1] + progress(tmp_path / "broken") == whole


def test_a_finished_run_only_loads(tmp_path: Path) -> None:
    whole = run(tmp_path)
    assert same_weights(run(tmp_path, stop_at=1), whole)


def test_a_run_sees_as_many_pieces_as_it_was_told(tmp_path: Path) -> None:
    run(tmp_path)
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["state"]
    assert SCHEDULE.tokens <= state["done"] < SCHEDULE.tokens + SCHEDULE.batch_tokens
    assert state["epoch"] == state["done"] // sum(LENGTHS)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"], "no half-written file stays"


def test_another_runs_checkpoint_is_refused(tmp_path: Path) -> None:
    run(tmp_path, facts={"teacher": "a"})
    for change in (
        {"facts": {"teacher": "b"}},
        {"facts": {"teacher": "a"}, "data": random_packed(LENGTHS, seed=5)},
        {"facts": {"teacher": "a"}, "schedule": Schedule(tokens=1200, batch_tokens=24, learning_rate=2e-2)},
    ):
        with pytest.raises(ValueError, match="belongs to another run"):
            run(tmp_path, **change)  # type: ignore[arg-type]


def test_the_fingerprint_sees_tags_and_lengths() -> None:
    data = random_packed(LENGTHS)
    tags = Packed(data.ids, data.tags * 0, data.offsets, data.language, data.languages)
    lengths = Packed(data.ids, data.tags, random_packed(LENGTHS[::-1]).offsets, data.language, data.languages)
    assert len({fingerprint(one, SCHEDULE) for one in (data, tags, lengths)}) == 3
    assert fingerprint(data, SCHEDULE, a=1) == fingerprint(random_packed(LENGTHS), SCHEDULE, a=1)


def test_dev_is_scored_now_and_then_without_changing_the_result(tmp_path: Path) -> None:
    modes: list[bool] = []

    def score(model: nn.Module) -> dict[str, float]:
        modes.append(model.training or torch.is_grad_enabled())
        return {"macro_f1": 12.5}

    watched = run(tmp_path / "watched", evaluate=score, evaluate_every=400)
    assert modes == [False] * 3
    lines = [json.loads(line) for line in (tmp_path / "watched/log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["dev"] for line in lines] == [{"macro_f1": 12.5}] * 3
    assert same_weights(watched, run(tmp_path / "alone"))


def test_schedule() -> None:
    schedule = Schedule(tokens=1000, warmup=0.1, final=0.01)
    factors = [schedule.factor(done) for done in range(0, 1001, 10)]
    assert 0 < factors[0] < 0.05
    assert factors[:11] == sorted(factors[:11]) and factors[10:] == sorted(factors[10:], reverse=True)
    assert factors[10] == pytest.approx(1) and factors[-1] == pytest.approx(0.01)
    assert schedule.factor(5000) == pytest.approx(0.01)
    assert Schedule(tokens=10, warmup=0).factor(0) == 1


def test_embeddings_and_vectors_do_not_decay() -> None:
    model = build()
    groups = build_optimizer(model, replace(SCHEDULE, embedding_rate=3.0)).param_groups
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    settings = {names[id(p)]: (group["weight_decay"], group["rate"]) for group in groups for p in group["params"]}
    assert settings.pop("embedding.weight") == (0, 3)
    assert len(settings) == len(names) - 1
    for name, setting in settings.items():
        assert setting == (0.0 if "bias" in name else SCHEDULE.weight_decay, 1), name


def test_transitions_learn_at_their_own_rate_and_do_not_decay() -> None:
    model = build("crf")
    assert model.crf is not None
    groups = build_optimizer(model, replace(SCHEDULE, transition_rate=10.0)).param_groups
    own = {id(parameter) for parameter in model.crf.parameters()}
    found = [(group["weight_decay"], group["rate"]) for group in groups for p in group["params"] if id(p) in own]
    assert found == [(0.0, 10.0)] * 3
    assert all(group["rate"] == 1 for group in groups for p in group["params"] if id(p) not in own)


def test_only_another_rate_of_transitions_makes_another_run() -> None:
    assert SCHEDULE.facts == replace(SCHEDULE, transition_rate=1.0).facts
    assert "transition_rate" not in SCHEDULE.facts
    assert replace(SCHEDULE, transition_rate=10.0).facts == SCHEDULE.facts | {"transition_rate": 10.0}


def test_embeddings_learn_at_their_own_rate(tmp_path: Path) -> None:
    still = run(tmp_path / "still", schedule=replace(SCHEDULE, embedding_rate=0.0))
    assert torch.equal(still.state_dict()["embedding.weight"], build().state_dict()["embedding.weight"])
    assert not torch.equal(still.state_dict()["head.weight"], build().state_dict()["head.weight"])


def test_a_run_that_diverges_stops_and_keeps_its_checkpoint(tmp_path: Path) -> None:
    steps = 0

    def loss(model: nn.Module, batch: Batch) -> Tensor:
        nonlocal steps
        steps += 1
        return label_loss(model(batch.ids, batch.mask), batch.tags) * (float("nan") if steps == 5 else 1)

    with pytest.raises(FloatingPointError, match="train diverged: loss nan.*at step 5"):
        train(
            build(), random_packed(LENGTHS), loss, schedule=SCHEDULE, folder=tmp_path, checkpoint_minutes=0, device=CPU
        )
    kept = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert kept["state"]["step"] == 4 and all(bool(value.isfinite().all()) for value in kept["model"].values())


def test_choose_device() -> None:
    assert choose_device("cpu").type == "cpu"
    assert choose_device().type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_an_accelerator_for_another_device_disturbs_nothing(tmp_path: Path) -> None:
    """Accelerate remembers the first device of a process."""
    run(tmp_path / "cpu")
    other = accelerator_for(torch.device("cuda"))
    assert other.num_processes == 1 and other.is_main_process
    assert next(run(tmp_path / "again").parameters()).device == CPU


TWO = """
import os, sys
from pathlib import Path
import torch
from test_training import LENGTHS, SCHEDULE, CPU, build, taught
from toydata import Killed, killing_loss, random_packed
from distill.training import train
from distill.losses import label_loss
from distill.transfer import JointLoss, Objective

rank, out = int(os.environ["RANK"]), Path(sys.argv[1])


def go(name, stop_at=0):
    seen = []

    def loss(model, batch):
        seen.append(batch.index.tolist())
        if rank == 1 and len(seen) == stop_at:
            os._exit(3)  # a process that dies without a word
        return label_loss(model(batch.ids, batch.mask), batch.tags)

    def score(model):  # the processes do not agree; the first one's word must count
        value = float(model.head.weight.sum() * 1e4) % 1
        return {"score": -value if rank == 1 else value}

    model = train(
        build(), random_packed(LENGTHS), loss, schedule=SCHEDULE, folder=out / name, device=CPU, evaluate=score,
        evaluate_every=300, keep="best", checkpoint_minutes=0,
    )
    torch.save({"weights": model.state_dict(), "seen": seen}, out / f"{name}-{rank}.pt")


def learn_sequences(name):
    loss = JointLoss(Objective(labels=1.0, logits=1.0, imitation="structural", annealed=0.5), taught)
    model = train(build("crf"), random_packed(LENGTHS), loss, schedule=SCHEDULE, folder=out / name, device=CPU)
    torch.save(model.state_dict(), out / f"{name}-{rank}.pt")


for word in sys.argv[2:]:
    name, _, stop_at = word.partition(":")
    if name == "crf":
        learn_sequences(name)
    else:
        go(name, int(stop_at or 0))
"""


def two_processes(folder: Path, *runs: str) -> subprocess.CompletedProcess[str]:
    """Runs by name, one after the other; `name:K` dies in step K."""
    script = folder / "two.py"
    script.write_text(TWO, encoding="utf-8")
    paths = [str(Path(__file__).parent), str(Path(__file__).parents[2])]
    # Nothing that the tests' own process has set for its accelerator may reach the two.
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ACCELERATE_")}
    environment = {**kept, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", str(script)]
    return subprocess.run(
        [*command, str(folder), *runs], env=environment, capture_output=True, text=True, timeout=180, check=False
    )


@pytest.mark.slow
def test_two_processes_train_one_model_and_resume_to_the_very_same(tmp_path: Path) -> None:
    first = two_processes(tmp_path, "crf", "whole", "broken:17")
    assert first.returncode != 0 and not (tmp_path / "broken-0.pt").exists(), first.stderr
    whole = [torch.load(tmp_path / f"whole-{rank}.pt", weights_only=True) for rank in (0, 1)]
    assert not any(torch.equal(value, build().state_dict()[name]) for name, value in whole[0]["weights"].items())
    assert all(torch.equal(value, whole[1]["weights"][name]) for name, value in whole[0]["weights"].items())
    assert sorted(path.name for path in (tmp_path / "whole").iterdir()) == ["checkpoint.pt", "log.jsonl"]

    sequences = [torch.load(tmp_path / f"crf-{rank}.pt", weights_only=True) for rank in (0, 1)]
    assert all(torch.equal(value, sequences[1][name]) for name, value in sequences[0].items())
    assert not any(torch.equal(value, build("crf").state_dict()[name]) for name, value in sequences[0].items())

    content = torch.load(tmp_path / "whole" / "checkpoint.pt", weights_only=True)
    done, data = content["state"]["done"], random_packed(LENGTHS)
    assert SCHEDULE.tokens <= done < SCHEDULE.tokens + 2 * SCHEDULE.batch_tokens
    steps = [batch for one in whole for batch in one["seen"]]
    assert sum(int(data.lengths[batch].sum()) for batch in steps) == done
    assert len(whole[0]["seen"]) == len(whole[1]["seen"]) == content["state"]["step"]
    epoch = len(epoch_batches(data, batch_tokens=SCHEDULE.batch_tokens, seed=SCHEDULE.seed, epoch=0)) // 2
    shares = [[example for batch in one["seen"][:epoch] for example in batch] for one in whole]
    assert len(set(shares[0]) | set(shares[1])) == len(shares[0]) + len(shares[1]), "no example twice in an epoch"
    lines = [json.loads(line) for line in (tmp_path / "whole/log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(lines) == 4 and min(line["dev"]["score"] for line in lines) >= 0, "one log, of the first process"
    assert content["kept"]["score"] == max(line["dev"]["score"] for line in lines)
    assert all(torch.equal(value, content["kept"]["best"][name]) for name, value in whole[1]["weights"].items())

    broken = torch.load(tmp_path / "broken" / "checkpoint.pt", weights_only=True)
    assert 0 < broken["state"]["step"] <= 16, "torchrun may end the first process before it has written its last step"
    second = two_processes(tmp_path, "broken")
    assert second.returncode == 0, second.stderr
    for rank in (0, 1):
        resumed = torch.load(tmp_path / f"broken-{rank}.pt", weights_only=True)
        assert len(resumed["seen"]) == content["state"]["step"] - broken["state"]["step"]
        assert all(torch.equal(value, whole[0]["weights"][name]) for name, value in resumed["weights"].items())
    last = torch.load(tmp_path / "broken" / "checkpoint.pt", weights_only=True)
    assert all(torch.equal(value, content["model"][name]) for name, value in last["model"].items())


def test_too_few_batches_for_two_processes() -> None:
    """Found before any process waits for another."""
    alone = SimpleNamespace(num_processes=99, process_index=0, device=CPU)
    with pytest.raises(ValueError, match="an epoch has [0-9]+ batches, too few for 99 processes"):
        next(_stream(random_packed(LENGTHS), SCHEDULE, _State(), alone))  # type: ignore[arg-type]
