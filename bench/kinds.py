"""Results of `make bench`, one for each kind of machine: what is aimed at there, and what was measured before."""

import json
from pathlib import Path
from typing import Any

from bench.chart import draw
from dvcproof.runtime.files import replacing, write_json

#: What is aimed at: for each ratio of the table, the greatest that is good (for `efficiency`, the least).
TARGETS = {
    "cold": 0.75,
    "fit": 0.42,
    "efficiency": 0.58,
    "nothing": 1.4,
    "parameter": 1.5,
    "arrays": 5.0,
    "growth_time": 1.1,
    "growth_cpu": 1.1,
    "growth_memory": 1.1,
    "peak_memory": 200.0,
    "copies": 2.0,
}

#: What else is aimed at on Zen 5, which computes vectors of 512 bits at once: the script's products gain more by it.
TARGETS_BY_KIND = {"amd-26-": {"cold": 0.85, "fit": 0.55, "efficiency": 0.65}}


def kept(results: Path) -> list[Path]:
    """The results of the kinds of machines, in the folder of all results."""
    return sorted((results / "speed").glob("*.json"))


def targets(kind: str) -> dict[str, float]:
    """What is aimed at on a kind of machine."""
    others = (values for start, values in TARGETS_BY_KIND.items() if kind.startswith(start))
    return TARGETS | next(others, {})


def keep(result: dict[str, Any], folder: Path) -> None:
    """Write a result and its chart, named by the kind of machine, beside those of other kinds that are still valid.

    Results of other kinds that were made with other parameters or data are removed: only such a machine could renew
    them.
    """
    for other in folder.glob("*.json"):
        made = json.loads(other.read_text(encoding="utf-8"))
        if any(made[name] != result[name] for name in ("params", "data")):
            other.unlink()
            other.with_suffix(".png").unlink(missing_ok=True)
    out = folder / f"{result['machine']['kind']}.json"
    with replacing(out, out.with_suffix(".png")) as (file, chart):
        write_json(file, result)
        draw(result, chart)


def compare(result: dict[str, Any], before: dict[str, Any] | None) -> str:
    """Each ratio beside that of the last result of the same kind of machine, and its target."""
    lines = [f"{'':20} {'now':>8} {'before':>8} {'target':>8}"]
    for name, value in result["ratios"].items():
        others = (before and before["ratios"].get(name), result["targets"].get(name))
        columns = ["" if other is None else f"{other:.2f}" for other in (value, *others)]
        lines.append(f"{name:20} " + " ".join(f"{column:>8}" for column in columns))
    return "\n".join(lines) + "\n"
