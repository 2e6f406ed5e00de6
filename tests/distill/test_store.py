from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from toydata import Killed

from distill import store as stores
from distill.store import RECORD, Store


def writes(content: str) -> Callable[[Path], None]:
    def build(folder: Path) -> None:
        (folder / "content.txt").write_text(content, encoding="utf-8")

    return build


def refuses(folder: Path) -> None:
    raise AssertionError("nothing is to be made")


def test_the_same_facts_give_the_same_folder_made_once(tmp_path: Path) -> None:
    store = Store(tmp_path)
    facts: dict[str, Any] = {"a": 1, "b": [1.5, None, "x"]}
    folder = store.get("kind", facts, writes("one"))
    assert (folder / "content.txt").read_text(encoding="utf-8") == "one"
    assert store.get("kind", {"b": [1.5, None, "x"], "a": 1}, refuses) == folder, "the order of keys does not count"
    assert Store(tmp_path).get("kind", facts, refuses) == folder
    assert (store.made, store.reused) == (1, 1)
    assert json.loads((folder / RECORD).read_text(encoding="utf-8")) == {"kind": "kind", "facts": facts}


def test_other_facts_kinds_and_versions_give_other_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    facts: list[dict[str, Any]] = [{}, {"a": 1}, {"a": 2}, {"a": "1"}, {"a": [1]}, {"b": 1}, {"a": 1, "b": 1}]
    folders = [store.get("kind", one, writes("")) for one in facts] + [store.get("other", {}, writes(""))]
    monkeypatch.setattr(stores, "VERSION", stores.VERSION + 1)
    folders += [store.get("kind", one, writes("")) for one in facts]
    assert len(set(folders)) == store.made == 15 and store.reused == 0


def test_what_breaks_off_does_not_count_and_goes_on_where_it_was(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def breaks(folder: Path) -> None:
        writes("half")(folder)
        raise Killed

    def goes_on(folder: Path) -> None:
        assert (folder / "content.txt").read_text(encoding="utf-8") == "half"
        writes("whole")(folder)

    with pytest.raises(Killed):
        store.get("kind", {}, breaks)
    assert store.made == 0
    (work,) = [path for path in tmp_path.iterdir() if path.name != "locks"]
    assert work.suffix == ".work" and not (work / RECORD).exists()
    folder = store.get("kind", {}, goes_on)
    assert (folder / "content.txt").read_text(encoding="utf-8") == "whole"
    assert not work.exists() and store.made == 1


def test_of_several_that_want_it_at_once_one_makes_it_and_the_others_wait(tmp_path: Path) -> None:
    made = []

    def slowly(folder: Path) -> None:
        time.sleep(0.1)
        made.append(folder)

    stores = [Store(tmp_path) for _ in range(4)]  # each opens the lock anew, as processes do
    with ThreadPoolExecutor(4) as pool:
        folders = list(pool.map(lambda store: store.get("kind", {}, slowly), stores))
    assert len(made) == 1 and len(set(folders)) == 1 and folders[0].is_dir()
    assert sorted((store.made, store.reused) for store in stores) == [(0, 1), (0, 1), (0, 1), (1, 0)]


def test_facts_must_be_json(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        Store(tmp_path).get("kind", {"a": Path("x")}, refuses)
