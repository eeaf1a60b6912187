"""One run directory: what is asked of each stage, what is done already, and whether to skip, continue or refuse."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal

from ..disk.writing import remove, settle, sweep, writing
from ..errors import RecipeError, StageError
from ..recipe.loading import LoadedRecipe
from ..recipe.renamed import same_names
from ..recipe.sections import STAGES
from ..types import Json
from .fingerprint import HAND_MASKS, as_recorded, asks, content_hash, differences, digest, reads_of
from .kept import keep_recipe, kept_recipe
from .lock import RunLock
from .records import Finished, Started, now, read_done, read_stage, versions, write_json

SCHEMA_VERSION = 1
PER_IMAGE: frozenset[str] = frozenset({"cam", "refine", "pseudo"})
"""Stages that write one file per image and are done split by split."""

State = Literal["new", "continue", "done"]
_WORDS = {"new": "begins", "continue": "goes on", "done": "is up to date"}
_log = logging.getLogger(__name__)


class RunDir:
    """One directory with everything that a recipe produced."""

    def __init__(self, path: Path, recipe: LoadedRecipe, use: Mapping[str, Path] | None = None) -> None:
        """Open a run; nothing is written.

        path: the directory; recipe: what is asked; use: folders in our own format in place of a stage's, by stage.

        Raises:
            StageError: `use` names something that is not a stage or not a folder.
        """
        self.path = Path(path)
        self.recipe = recipe
        self.use = {stage: Path(folder) for stage, folder in (use or {}).items()}
        for stage, folder in self.use.items():
            if stage not in STAGES:
                raise StageError(f"--use {stage}={folder}: no stage {stage!r}; there are {', '.join(STAGES)}")
            if not os.path.isdir(folder) or not os.access(folder, os.R_OK) or not any(folder.iterdir()):
                raise StageError(f"--use {stage}={folder}: no such folder, or nothing in it")
        self._lock = RunLock(self.path / "lock")
        self._begun: dict[str, float] = {}
        self._hashes: dict[Path, str] = {}

    def folder(self, stage: str) -> Path:
        """Return the folder of a stage; it need not exist."""
        return self.path / stage

    def source(self, stage: str, reads: str) -> Path:
        """Return the folder of what `stage` reads: the run's own, or the one that --use gave."""
        return self.use.get(reads, self.folder(reads))

    def lock(self) -> AbstractContextManager[None]:
        """Return a context in which this process alone works in the run.

        Raises:
            StageError: another process is working in it.
        """
        return self._lock

    # what is asked

    def reads(self, stage: str) -> tuple[str, ...]:
        """Return the stages whose results `stage` reads."""
        reads = reads_of(self.recipe.recipe, stage)
        if stage != "eval":
            return reads
        given = self._use_of(stage)
        there = tuple(s for s in reads if s == "prepare" or s in given or (self.folder(s) / "done.json").is_file())
        # score maps stand for the classifier that made them; without any, its own masks are evaluated
        single = self.recipe.recipe.train_seg is None and not {"cam", "refine"} & set(there)
        return (*there, "train-cls") if single and self.done("train-cls") is not None else there

    def fingerprint(self, stage: str) -> str:
        """Return the hash of what is asked of a stage, and of everything that it reads."""
        return digest(self._node(stage))

    def _node(self, stage: str) -> Json:
        """Return the record whose hash is the fingerprint: this stage's values and those of what it reads."""
        reads: Json = {}
        given = self._use_of(stage)
        for source in self.reads(stage):
            if source in given:
                reads[source] = {"folder": given[source]["hash"]}
            elif source == "prepare":
                reads[source] = self._prepared(stage)
            else:
                reads[source] = self._node(source)
        if stage == "train-seg" and (content := self._hand_masks()) is not None:
            reads[HAND_MASKS] = {"masks": content}
        return {"asks": asks(self.recipe.recipe, stage), "reads": reads}

    def _prepared(self, stage: str) -> Json:
        """Return what a stage depends on from prepare: the index, and the contents of pictures that it learns from."""
        done = self.done("prepare") or {}
        recipe = self.recipe.recipe
        truth = stage == "train-seg" and recipe.train_seg is not None and recipe.train_seg.masks_of_the_data
        truth |= stage == "pseudo" and recipe.pseudo is not None and recipe.pseudo.background == "auto"
        pictures = ("photos", "masks") if truth else ("photos",)
        return {"index": done.get("index")} | {name: done[name] for name in pictures if name in done}  # type: ignore[literal-required]

    def _hand_masks(self) -> str | None:
        """Return the hash of the folder of hand masks that train-seg reads; None where it reads none."""
        asked = self.recipe.recipe.train_seg
        if asked is None or asked.hand_folder is None:
            return None
        try:
            folder = self.recipe.section("train-seg").hand_folder
        except RecipeError:  # a variable that is not set
            folder = None
        if folder is None or not folder.is_dir():  # out of sight from here: what was read stands
            return (self.started("train-seg") or {}).get("reads", {}).get(HAND_MASKS, {}).get("masks", "")
        return self._content(folder, "*.png")

    def _use_of(self, stage: str) -> dict[str, dict[str, str]]:
        """Return the folders that stand in for what `stage` reads: this command's, or those that it was made with."""
        wanted = reads_of(self.recipe.recipe, stage)
        if stage not in self._begun:
            use = (read_stage(self.folder(stage)) or {}).get("use", {})
            return {source: {**entry} for source, entry in use.items() if source in wanted}  # type: ignore[dict-item]
        return self._given(stage)

    def _given(self, stage: str) -> dict[str, dict[str, str]]:
        wanted = reads_of(self.recipe.recipe, stage)
        return {
            source: {"path": str(folder), "hash": self._content(folder)}
            for source, folder in self.use.items()
            if source in wanted
        }

    def _content(self, folder: Path, pattern: str = "*") -> str:
        if folder not in self._hashes:
            self._hashes[folder] = content_hash(folder, pattern)
        return self._hashes[folder]

    # what is done

    def done(self, stage: str) -> Finished | None:
        """Return what done.json of a stage says, whether or not it is up to date; None if the stage is not done."""
        return read_done(self.folder(stage))

    def started(self, stage: str) -> Started | None:
        """Return what stage.json of a stage says; None if the stage never began."""
        return read_stage(self.folder(stage))

    def changes(self, stage: str) -> list[str]:
        """Return the keys that differ between what exists and what is asked, `cam.infer.scales: [1.0] → [0.5, 1.0]`.

        Empty if nothing exists yet or everything agrees.
        """
        started = self.started(stage)
        if started is None or started.get("fingerprint") == self.fingerprint(stage):
            return []
        node = self._node(stage)
        recorded = same_names(started, node)
        node = as_recorded(node, recorded)
        if recorded == node:
            return []
        return list(dict.fromkeys(differences(stage, recorded, node))) or ["the form of its records"]

    def look(self, stage: str, splits: Sequence[str] = (), force: bool = False) -> State:
        """Return what `begin` would return, without writing anything.

        Raises:
            StageError: what exists was made with other settings or from other input.
        """
        self._begun.setdefault(stage, time.monotonic())
        parts = self.recipe.recipe.refine_parts
        readers = parts if stage in parts else (stage,)
        read = {source for reader in readers for source in reads_of(self.recipe.recipe, reader)[1:]}
        unread = [source for source in self.use if source not in read]
        if unread:
            raise StageError(f"--use {unread[0]}=…: {stage} does not read {unread[0]}")
        if force or self.started(stage) is None:
            return "new"
        changed = self.changes(stage)
        if changed and stage == "eval" and not any(line.startswith("eval.") for line in changed):
            return "new"
        if changed:
            lines = "\n  ".join(changed)
            raise StageError(f"{self.folder(stage)} was made with other settings\n  {lines}\n  {self._ways(stage)}")
        done = self.done(stage)
        if done is None:
            return "continue"
        return "done" if set(splits) <= set(done.get("lists", ())) else "continue"

    def _ways(self, stage: str, first: bool = False) -> str:
        """Return what to do about a stage made with other settings; first: before another one continues from it."""
        command = "refine" if stage in self.recipe.recipe.refine_parts else stage
        anew = f"`wsseg {command} --force` first, or another --run" if first else "`--force` makes it again"
        try:
            kept = kept_recipe(self.path)
            as_kept = kept.recipe != self.recipe.recipe and not RunDir(self.path, kept, self.use).changes(stage)
        except RecipeError:
            as_kept = False
        if as_kept:
            return (
                f"to keep it, leave out --recipe and --set: `--run {self.path}` alone takes the recipe that the run "
                f"keeps; to make it again: `wsseg {command} --force`"
            )
        return f"run {anew}" if first else f"{anew}; `--run OTHER` keeps it"

    def begin(self, stage: str, splits: Sequence[str] = (), force: bool = False) -> State:
        """Start a stage, or find that it is done: "new", "continue" or "done".

        splits: the requested splits, in a per-image stage. force: discard what exists.

        Raises:
            StageError: what exists was made with other settings or from other input.
        """
        folder = self.folder(stage)
        # under the lock nothing else writes here: temporary files were left by a killed process
        sweep(self.path, deep=False)
        sweep(folder)
        state = self.look(stage, splits, force)
        _log.debug("%s: %s, reads %s", stage, _WORDS[state], ", ".join(self.reads(stage)) or "nothing")
        if state == "done":
            return state
        if force and folder.exists():
            remove(folder)
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        keep_recipe(self.path, self.recipe)
        self._begun[stage] = time.monotonic()
        if state == "new":
            remove(folder / "done.json")
            record = {"schema_version": SCHEMA_VERSION, "stage": stage, "fingerprint": self.fingerprint(stage)}
            record |= self._node(stage) | {"use": self._given(stage), "started": now(), "versions": versions()}
            write_json(folder / "stage.json", record)
        return state

    def finish(self, stage: str, splits: Sequence[str] = (), **facts: Any) -> Json:
        """Write done.json with `facts` (counts and the like) and return it; splits join those done before."""
        before = self.done(stage) or {}
        started = self.started(stage) or {}
        seconds = round(time.monotonic() - self._begun.get(stage, time.monotonic()), 2)
        record: Json = {
            "schema_version": SCHEMA_VERSION,
            "stage": stage,
            "fingerprint": started.get("fingerprint", self.fingerprint(stage)),
            "lists": list(dict.fromkeys([*before.get("lists", ()), *splits])),
            "started": started.get("started"),
            "finished": now(),
            "seconds": round(before.get("seconds", 0.0) + seconds, 2),
            "versions": versions(),
        }
        record |= facts
        _log.debug("%s: finished in %s s, fingerprint %s", stage, record["seconds"], record["fingerprint"])
        settle(self.folder(stage))
        write_json(self.folder(stage) / "done.json", record)
        return record

    def require(self, stage: str, splits: Sequence[str] = ()) -> Mapping[str, Any]:
        """Return done.json of a stage that another one reads; for a --use folder, its hash and path.

        Raises:
            StageError: the stage is missing, partial, or older than what the recipe asks for.
        """
        if stage in self.use:
            return {"fingerprint": self._content(self.use[stage]), "use": str(self.use[stage])}
        run = f"run `wsseg {stage}` first"
        if self.started(stage) is None:
            raise StageError(f"{self.folder(stage)} is missing: {run}")
        changed = self.changes(stage)
        if changed:
            lines = "\n  ".join(changed)
            raise StageError(f"{self.folder(stage)} is stale\n  {lines}\n  {self._ways(stage, first=True)}")
        done = self.done(stage)
        if done is None:
            raise StageError(f"{self.folder(stage)} is not finished: {run}")
        missing = [name for name in splits if name not in done.get("lists", ())]
        if missing:
            raise StageError(
                f"{self.folder(stage)} has no split {missing[0]!r}: run `wsseg {stage} --split {missing[0]}` first"
            )
        return done

    def other_versions(self, stage: str) -> list[str]:
        """Return the packages that had another version when the stage ran, such as `torch 2.6.0, now 2.15.0`."""
        then = (self.done(stage) or self.started(stage) or {}).get("versions", {})
        return [f"{name} {old}, now {new}" for name, new in versions().items() if (old := then.get(name, new)) != new]
