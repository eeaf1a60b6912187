"""Golden cases: read one, fill its checkpoint, compare an output as the case itself says.

A test is marked with `@golden("name", …)` and takes the fixture `case`. The folder comes from the environment variable
WSSEG_GOLDEN (default `tests/golden`); a case that the folder lacks is skipped.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from fill import fill_array


def golden_folder() -> Path:
    """Return the folder that holds the cases."""
    return Path(os.environ.get("WSSEG_GOLDEN", Path(__file__).parent / "golden"))


def golden(*names: str) -> Any:
    """Mark a test as golden and run it once for each case, the case's name alone as its id."""

    def mark(function: Any) -> Any:
        params = [pytest.param(name, id=name) for name in names]
        return pytest.mark.golden(pytest.mark.parametrize("case", params, indirect=True)(function))

    return mark


@dataclass(frozen=True)
class Comparison:
    """One output as a test compared it.

    Attributes:
        case: its name.
        output: its name.
        shape: of the output.
        largest: the largest difference of an element.
        used: the largest share of its own bound that the difference of an element takes; 0 where all are equal.
        bound: what is allowed, in words.
        agree: share of the elements within their bound.
        through: the entry point of a plugin or stage that gave it, "inside" and the entry point if a test kept it
            while that was at work; "" if neither is so or nobody watches.
    """

    case: str
    output: str
    shape: tuple[int, ...]
    largest: float
    used: float
    bound: str
    agree: float
    through: str = ""


WITNESSES: list[Callable[[np.ndarray], str]] = []
"""Who can say through which entry point an array came; `python benchmarks/parity.py` puts one here."""

NOTES: list[Callable[[Any], None]] = []
"""Who notes what a test keeps from the inside of an entry point at work; likewise."""

KeptT = TypeVar("KeptT")


def noted(kept: KeptT) -> KeptT:
    """Return what a test keeps of a running entry point, such as a module's output, after it was noted."""
    for note in NOTES:
        note(kept)
    return kept


def kept_results(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> list[Any]:
    """Return a list that collects what a function of a module or object returns from now on."""
    results: list[Any] = []
    function = getattr(owner, name)

    def call(*args: Any, **named: Any) -> Any:
        results.append(noted(function(*args, **named)))
        return results[-1]

    monkeypatch.setattr(owner, name, call)
    return results


class GivenParts:
    """Comes before a method in the bases of a test's class: parts that are `given` are not computed, all are `kept`."""

    given: dict[str, Any]
    kept: dict[str, Any]

    def _part(self, name: str, *args: Any) -> Any:
        given = getattr(self, "given", {})
        result = given[name] if name in given else getattr(super(), name)(*args)
        self.__dict__.setdefault("kept", {})[name] = noted(result)
        return result


COMPARISONS: list[Comparison] = []
"""Every comparison since the tests began, for the table of parity (`python benchmarks/parity.py`)."""


class Case:
    """One folder of golden data: `inputs`, `outputs`, `arguments`, `notes`, `state_dict()`, `check()`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = folder.name
        self.spec: dict[str, Any] = json.loads((folder / "case.json").read_text())
        self.arguments: dict[str, Any] = self.spec.get("arguments", {})
        self.notes: str = self.spec.get("notes", "")
        self.checked: set[str] = set()

    def _arrays(self, name: str) -> dict[str, np.ndarray]:
        path = self.folder / name
        if not path.exists():
            return {}
        with np.load(path, allow_pickle=False) as arrays:
            return {key: arrays[key] for key in arrays.files}

    @cached_property
    def inputs(self) -> dict[str, np.ndarray]:
        return self._arrays("inputs.npz")

    @cached_property
    def outputs(self) -> dict[str, np.ndarray]:
        return self._arrays("outputs.npz")

    def probe(self, name: str) -> np.ndarray:
        """Return input `name` of a `_probe` case, made from the seed and shape among its inputs."""
        rng = np.random.default_rng(int(self.inputs[f"seed_{name}"]))
        return rng.standard_normal(tuple(self.inputs[f"shape_{name}"])).astype("float32")

    def arrays_of_checkpoint(self) -> dict[str, np.ndarray]:
        """Return the reference checkpoint under its published names, filled, scaled and offset as the case says."""
        scale, offset = self.spec.get("state_scale", {}), self.spec.get("state_offset", {})
        rows = json.loads((self.folder / "state_dict.json").read_text())
        arrays = {}
        for name, shape, dtype in rows:
            value = fill_array(name, tuple(shape), dtype)
            if name in scale:
                value = value * np.asarray(scale[name], value.dtype)
            if name in offset:
                value = value + np.asarray(offset[name], value.dtype)
            arrays[name] = value
        return arrays

    def state_dict(self) -> dict[str, Any]:
        """Return `arrays_of_checkpoint` as torch tensors."""
        import torch

        arrays = self.arrays_of_checkpoint()
        return {name: torch.from_numpy(np.ascontiguousarray(a)).reshape(a.shape) for name, a in arrays.items()}

    def check(self, name: str, got: Any, want: np.ndarray | None = None) -> float:
        """Compare `got` with output `name` under the case's own tolerance; return the largest difference.

        got: array, tensor or scalar. Shape, NaN, integer and label rules are those of the golden README. `want` is
        given only where the stored array has to be brought into another order first.
        """
        self.checked.add(name)
        want = self.outputs[name] if want is None else want
        got = got.detach().cpu().numpy() if hasattr(got, "detach") else np.asarray(got)
        through = next((said for witness in WITNESSES if (said := witness(got))), "")
        where = f"{self.name}/{name}"
        if self.name.endswith("_probe") and got.ndim == want.ndim:
            got = got[tuple(slice(n) for n in want.shape)]
        assert got.shape == want.shape, f"{where}: shape {got.shape}, expected {want.shape}"
        tolerance = self.spec["tolerance"]
        own = tolerance.get("per_output", {}).get(name)
        labels = name in tolerance.get("label_outputs", [])
        if want.dtype.kind in "US":
            assert got.astype(want.dtype.kind).tolist() == want.tolist(), where
            COMPARISONS.append(Comparison(self.name, name, want.shape, 0.0, 0.0, "equal", 1.0, through))
            return 0.0
        exact = want.dtype.kind in "iub" and (own is None or labels)
        if exact:
            right = got == want
            difference = np.abs(got.astype("float64") - want.astype("float64"))
            bound, words = np.zeros_like(difference), "equal"
        else:
            bounds = own or tolerance
            a, b = got.astype("float64"), want.astype("float64")
            with np.errstate(invalid="ignore"):
                difference = np.abs(a - b)
                bound = bounds["atol"] + bounds.get("rtol", 0.0) * np.abs(b)
                right = difference <= bound
            words = f"{bounds['atol']:g}" + (f" + {bounds['rtol']:g} · abs(want)" if bounds.get("rtol") else "")
            right |= a == b  # infinities of one sign
            both_nan = np.isnan(a) & np.isnan(b)
            if self.spec.get("allow_nan") or tolerance.get("allow_nan"):
                right |= both_nan
        share = float(np.mean(right)) if right.size else 1.0
        needed = tolerance["label_agreement"] if labels else 1.0
        apart = ~np.isnan(difference) & (difference > 0)
        largest = float(difference[apart].max()) if apart.any() else 0.0
        with np.errstate(divide="ignore"):
            used = float((difference[apart] / bound[apart]).max()) if apart.any() else 0.0
        words += f"; {needed:g} of the elements" if labels else ""
        COMPARISONS.append(Comparison(self.name, name, want.shape, largest, used, words, share, through))
        assert share >= needed, (
            f"{where}: {share:.6f} of the elements agree, needed {needed}; largest difference {largest:.6g}, "
            f"first at {np.argwhere(~right)[0].tolist() if right.ndim else '()'}"
        )
        return largest

    def check_all(self, got: dict[str, Any]) -> None:
        """Check every output of the case against the value of its name in `got`; none may be left out."""
        missing = set(self.outputs) - set(got)
        assert not missing, f"{self.name}: not computed: {sorted(missing)}"
        for name in self.outputs:
            self.check(name, got[name])


def load_case(name: str) -> Case:
    """Return case `name`; skip the test if the golden folder lacks it."""
    folder = golden_folder() / name
    if not (folder / "case.json").is_file():
        pytest.skip(f"no golden case {name!r} in {golden_folder()}")
    return Case(folder)
