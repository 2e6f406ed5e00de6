"""Registry: the bundles in a folder, each served under the name of its sub-folder."""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from onoma.bundle import MANIFEST, read_any_manifest
from onoma.embedder import Embedder
from onoma.errors import BundleError
from onoma.model import available_cores
from onoma.tagger import Tagger
from service.backend import AnyModel
from service.errors import NotFound, shown
from service.settings import Settings

LOG = logging.getLogger("onoma.service")

STUDENT, TEACHER, ENCODER = "student", "teacher", "encoder"
AUTO = "auto"
"""The student, and the teacher where the student is unsure or fails."""
_RESERVED = (AUTO, "reload")  # what POST /models/reload would take for a model
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")


def find_bundles(models: Path) -> dict[str, Path]:
    """The sub-folders that hold a bundle, by name, in order.

    Hidden ones (`.name`) are left out, so that a bundle can be written there and renamed when it is whole.

    :raises BundleError: if there is no student, or a bundle has a name that no request could ask for.
    """
    found = _folders(models)
    for name, folder in found.items():
        if name in _RESERVED or not _NAME.fullmatch(name):
            allowed = f"1 to 64 of A-Z a-z 0-9 . _ -, but not {' or '.join(_RESERVED)}"
            raise BundleError(f"{folder}: the folder of a bundle is its name, which must be {allowed}")
    if STUDENT not in found:
        raise BundleError(f"no bundle at {models / STUDENT}: {MANIFEST} is missing")
    return {name: found[name] for name in in_order(found)}


def bundle_names(models: Path) -> list[str]:
    """The names of the sub-folders that hold a bundle, good or bad, in order."""
    return in_order(_folders(models))


def _folders(models: Path) -> dict[str, Path]:
    return {path.parent.name: path.parent for path in models.glob(f"*/{MANIFEST}") if path.parent.name[0] != "."}


def in_order(names: Iterable[str]) -> list[str]:
    """The student, the teacher, then the others by name."""
    return sorted(names, key=lambda name: (name != STUDENT, name != TEACHER, name))


def check_there(name: str, names: Collection[str]) -> None:
    """Refuse a name that none of a server's models has.

    :raises NotFound: says which there are.
    """
    if name not in names:
        raise NotFound(f"model: there is no {shown(name)}; there is {', '.join(names)}")


def load_models(
    settings: Settings, *, present: Mapping[str, AnyModel] | None = None, only: str | None = None
) -> dict[str, AnyModel]:
    """The models of their folder by name, in order. Every hash is checked.

    :param present: models loaded before; one whose bundle has not changed is taken over. A bundle is gone when its
        sub-folder is; without its bundle.json it is damaged.
    :param only: look at this bundle, and take over all others of `present`.
    :raises BundleError: if the student is missing, a bundle is damaged, or the student or the teacher is no tagger.
    :raises NotFound: if there is no bundle `only`.
    """
    present = present or {}
    threads = settings.threads if settings.threads is not None else available_cores()
    found = find_bundles(settings.models)
    if only is not None:
        check_there(only, found)
        loaded = {**present, only: _load(found[only], threads, present.get(only))}
        return {name: loaded[name] for name in in_order(loaded)}
    for name in present:
        if name not in found and (settings.models / name).is_dir():
            raise BundleError(f"no bundle at {settings.models / name}: {MANIFEST} is missing")
    if TEACHER not in found:
        LOG.warning("no teacher in %s: every text is answered by the student", settings.models)
    return {name: _load(folder, threads, present.get(name)) for name, folder in found.items()}


def _load(folder: Path, threads: int, present: AnyModel | None) -> AnyModel:
    try:
        manifest = read_any_manifest(folder)
        if present is not None and present.manifest == manifest:
            return present
        # What `auto` asks must find entities: Tagger.load says so of anything else.
        if manifest.kind == "sentence-encoder" and folder.name not in (STUDENT, TEACHER):
            return Embedder.load(folder, threads=threads)
        return Tagger.load(folder, threads=threads)
    except OSError as error:  # a file that goes away while it is read, or may not be read
        raise BundleError(f"{folder} cannot be read: {error.strerror}: {error.filename}") from error
