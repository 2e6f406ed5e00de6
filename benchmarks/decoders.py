"""`python -m benchmarks.decoders`: what a CRF costs, two bundles of one shape side by side, from text to entities.

They tag the same sentences in turns, so that a slower minute of the machine counts on both sides: what is compared are
ratios of neighbouring runs, and their median holds on a busy machine too.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.figures import machine, publish, ranged, summary
from onoma.bundle import Manifest, Transitions, read_manifest, write_manifest
from onoma.errors import BundleError
from onoma.labels import LabelSet
from onoma.tagger import Tagger

GOAL = 1.15  # times a softmax student's
BATCHES = (1, 32, 256)  # sentences that are tagged together
# Written for this benchmark: about twelve words each, some without a name.
SENTENCES = (
    "Marie Keller left the Zeiss laboratory in Jena to teach physics in Oslo.",
    "The ferry between Tallinn and Helsinki was late again because of the ice.",
    "Nobody in the office knew why the lights had gone out that evening.",
    "Last spring the Red Cross asked Julia Ferreira to lead its work in Malawi.",
    "Im Herbst eröffnet die Stadt Graz ein neues Museum neben der alten Oper.",
    "Jürgen Habeck fuhr mit dem Zug von Ulm nach Basel und las dabei.",
    "Nach dem Regen roch der ganze Garten nach Lavendel und nasser Erde.",
    "Le musée du Louvre prêtera trois tableaux à la ville de Lens en mai.",
    "Claire Fontaine a quitté Michelin pour ouvrir une librairie près de Nantes.",
    "La orquesta de Sevilla tocará mañana en Lisboa con la pianista Inés Rojo.",
    "El tren salió tarde porque una vaca dormía tranquila sobre las vías.",
    "Il sindaco di Trieste ha incontrato i tecnici della Fincantieri al porto.",
    "A equipa do Benfica treina amanhã em Coimbra sem o guarda-redes Rui Paz.",
    "De burgemeester van Utrecht bezocht gisteren de nieuwe fabriek van Philips.",
    "Burmistrz Torunia otworzył wczoraj most, o którym miasto marzyło od lat.",
    "Orhan Demir geçen yaz İzmir'den Ankara'ya taşındı ve bir kitapçı açtı.",
    "Tiedemies Aino Laine muutti Turusta Uppsalaan ja jatkoi siellä työtään Nokialla.",
    "Художник Илья Громов переехал из Казани в Тбилиси и открыл там мастерскую.",
    "Учора у Львові Ольга Бондар відкрила виставку про старі мости Карпат.",
    "Η Ελένη Μαυρίδη ταξίδεψε από τη Θεσσαλονίκη στη Βιέννη για ένα συνέδριο.",
    "سافرت المهندسة ليلى حداد من بيروت إلى عمان للعمل في شركة أرامكو.",
    "מנהלת המוזיאון בחיפה הזמינה את דוד לוי לפתוח את התערוכה בקיץ.",
    "अनिता वर्मा पिछले साल जयपुर से पुणे चली गईं और वहाँ पढ़ाने लगीं।",
    "ঢাকার একটি ছোট দোকানে বসে রফিক হাসান সারাদিন পুরনো বই বিক্রি করেন।",
    "王芳去年从成都搬到青岛，在海尔公司做工程师。",
    "佐藤健二は去年札幌から神戸に移り、小さな喫茶店を開いた。",
    "김민수는 지난해 대전에서 부산으로 이사해 작은 서점을 열었다.",
    "Mwalimu Asha Juma alihama kutoka Mombasa kwenda Arusha kufundisha watoto wa shule.",
    "Nguyễn Minh Anh rời Huế vào Cần Thơ để làm việc cho một bệnh viện.",
    "Rina Wijaya pindah dari Bandung ke Medan dan bekerja di kantor Pertamina.",
)


def twin(folder: Path, target: Path, *, seed: int = 0) -> Manifest:
    """The bundle again with the other decoder: a softmax, or a CRF whose transitions are drawn but plausible.

    :raises BundleError: if the bundle is missing, damaged, or of another version.
    """
    manifest = read_manifest(folder)
    crf = plausible_transitions(manifest.label_set, seed=seed) if manifest.crf is None else None
    target.mkdir(parents=True)
    for name in manifest.files:
        shutil.copy2(folder / name, target / name)
    decoder = "softmax" if crf is None else "crf"
    other = manifest.model_copy(update={"decoder": decoder, "crf": crf, "name": f"{manifest.name} as {decoder}"})
    write_manifest(target, other)
    return other


def plausible_transitions(labels: LabelSet, *, seed: int) -> Transitions:
    """Numbers like those that CRFs learned here, with some chance: O stays O, entities go on and seldom touch."""
    source = np.random.default_rng(seed)
    width = len(labels.tags)
    moves = np.where(labels.legal, -1.0, -1.5)
    moves[labels.outside, labels.legal_start] = 0.5
    moves[labels.legal & labels.inside] = 1.1
    numbers = {"transitions": moves, "start": np.where(labels.inside, -0.7, 0.4), "end": np.full(width, -0.2)}
    return Transitions.model_validate(
        {
            name: (value + source.normal(0, 0.3, value.shape)).astype(np.float32).tolist()
            for name, value in numbers.items()
        }
    )


def passes(tagger: Tagger, batch: int) -> list[Callable[[], object]]:
    """What is timed: each sentence tagged alone, or one batch."""
    if batch == 1:
        return [lambda text=text: tagger.tag(text) for text in SENTENCES]  # type: ignore[misc]
    texts = [SENTENCES[at % len(SENTENCES)] for at in range(batch)]
    return [lambda: tagger.tag_batch(texts)]


def measure(taggers: Sequence[Tagger], *, rounds: int, repeats: int = 3) -> dict[int, list[list[float]]]:
    """Milliseconds by batch size: for each tagger, one figure a round.

    Taggers take turns with every sentence or batch, and in who begins. A figure is of one sentence, or of one batch.
    """
    taken: dict[int, list[list[float]]] = {batch: [[] for _ in taggers] for batch in BATCHES}
    for batch, own in taken.items():
        work = list(zip(*(passes(tagger, batch) for tagger in taggers), strict=True))
        for number in range(-1, rounds):  # the round before the first warms up
            spent = [0.0] * len(taggers)
            for turn in range(repeats):
                for at, runs in enumerate(work):
                    order = range(len(runs)) if (number + turn + at) % 2 else range(len(runs) - 1, -1, -1)
                    for which in order:
                        start = time.perf_counter()
                        runs[which]()
                        spent[which] += time.perf_counter() - start
            if number >= 0:
                for figures, seconds in zip(own, spent, strict=True):
                    figures.append(1000 * seconds / repeats / len(work))
        print(f"{_shape(batch)}: {rounds} rounds", file=sys.stderr)
    return taken


def compare(folders: Sequence[Path], *, rounds: int) -> dict[str, Any]:
    """Time two bundles; every figure, for JSON.

    :raises BundleError: if a bundle is missing, damaged, or of another version.
    """
    taggers = [Tagger.load(folder, threads=1) for folder in folders]
    shapes = {}
    for batch, (first, second) in measure(taggers, rounds=rounds).items():
        ratios = summary([late / early for early, late in zip(first, second, strict=True)])
        shapes[_shape(batch)] = {
            "milliseconds": [summary(own) | {"rounds": own} for own in (first, second)],
            "ratio": ratios | {"reached": ratios["median"] <= GOAL},
        }
    manifests = [tagger.manifest for tagger in taggers]
    names = [f"{one.name}: {one.architecture}, {one.decoder}" for one in manifests if one is not None]
    return {"bundles": names, "rounds": rounds, "goal": GOAL, "shapes": shapes}


def _shape(batch: int) -> str:
    return "one sentence" if batch == 1 else f"{batch} sentences"


def document(results: Mapping[str, Any]) -> str:
    """The report in Markdown."""
    about = results["machine"]
    facts = {
        "command": results["command"],
        "machine": f"{about['processor']}, {about['cores']} cores, load {about['load']} before the run",
        "versions": about["versions"],
        "date": about["date"],
        "A": results["bundles"][0],
        "B": results["bundles"][1],
        "runs": f"one onnxruntime thread, text to entities, {len(SENTENCES)} sentences of about 12 words in turns; "
        f"medians of {results['rounds']} rounds (least..greatest)",
    }
    rows = [["tagged together", "A, ms", "B, ms", "B / A", f"at most {results['goal']}"], ["---", *["---:"] * 4]]
    for name, shape in results["shapes"].items():
        times = [ranged(figures, 2) for figures in shape["milliseconds"]]
        rows.append([name, *times, ranged(shape["ratio"], 3), "yes" if shape["ratio"]["reached"] else "no"])
    table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return "\n\n".join(["# Decoders", "\n".join(f"- {name}: {value}" for name, value in facts.items()), table]) + "\n"


def parser() -> argparse.ArgumentParser:
    """The options."""
    options = argparse.ArgumentParser(
        prog="python -m benchmarks.decoders", description=(__doc__ or "").partition("\n")[0]
    )
    options.add_argument(
        "bundle", type=Path, nargs="*", help="two bundles; one is compared with its twin of the other decoder, and "
        "models/student is that one if none is named"
    )  # fmt: skip
    options.add_argument("--rounds", type=int, default=15, help="%(default)s")
    options.add_argument("--json", type=Path, help="write all figures here as well")
    options.add_argument("--markdown", type=Path, help="write the report here as well")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison, print and write the report; exit status 1 if a bundle does not load."""
    argv = list(sys.argv[1:] if arguments is None else arguments)
    options = parser().parse_args(argv)
    if options.rounds < 1 or len(options.bundle) > 2:
        parser().error("at most two bundles, and --rounds at least 1")
    facts = {"command": shlex.join(["python", "-m", "benchmarks.decoders", *argv]), "machine": machine()}
    folders: list[Path] = options.bundle or [Path("models/student")]
    with tempfile.TemporaryDirectory() as name:
        try:
            if len(folders) == 1:
                made = Path(name) / "twin"
                folders = [folders[0], made] if twin(folders[0], made).crf is not None else [made, folders[0]]
            results = facts | compare(folders, rounds=options.rounds)
        except BundleError as error:
            print(f"benchmarks.decoders: {error}", file=sys.stderr)
            return 1
    publish(document(results), results, json_path=options.json, markdown_path=options.markdown)
    return 0


if __name__ == "__main__":
    sys.exit(main())
