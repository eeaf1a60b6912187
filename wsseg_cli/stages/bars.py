"""The bars that `eval --min-miou` sets, and which figures are below them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..errors import RecipeError
from ..run.evaluation import Evaluation

ARTEFACTS = ("cam", "refine", "pseudo", "seg")
"""What can be evaluated, in the order of the stages."""


def parse_bars(text: str) -> dict[str, float]:
    """Return the bar in per cent by artefact from "cam=40,seg=30"; a single number is the bar of all, under "".

    Raises:
        RecipeError: a bar is not a number from 0 to 100, an artefact is unknown, or one occurs twice.
    """
    bars: dict[str, float] = {}
    for part in text.split(","):
        name, sign, number = part.strip().rpartition("=")
        try:
            bar = float(number)
        except ValueError:
            bar = -1.0
        if not 0 <= bar <= 100 or (sign and name not in ARTEFACTS) or (not sign and "," in text) or name in bars:
            raise RecipeError(
                f"--min-miou {text}: expected a number from 0 to 100, or some of {', '.join(ARTEFACTS)} with one each, "
                "such as cam=40,seg=30"
            )
        bars[name] = bar
    return bars


def below(records: Sequence[Evaluation], bars: Mapping[str, float]) -> str:
    """Return a line for every figure below its bar, and for every bar whose artefact was not evaluated; "" if none.

    bars: as `parse_bars` gives them.
    """
    if not records:
        return "--min-miou: no split has masks, so nothing was evaluated"
    lines = []
    for record in records:
        bar = bars.get(record.artefact, bars.get(""))
        if bar is not None and (record.miou is None or record.miou < bar):
            lines.append(f"{record.artefact} on {record.split}: mIoU {record.miou} is below {bar:g}")
    there = {record.artefact for record in records}
    absent = [name for name in bars if name and name not in there]
    lines += [f"{name}: not evaluated, so it does not reach {bars[name]:g}" for name in absent]
    return "\n".join(lines)
