"""The measurements of `make bench` as a picture: bars beside their baselines, and how cost grows."""

from pathlib import Path
from typing import Any

#: Parts of a cold run, in their order.
PARTS = ("dvc", "load", "preprocess", "train", "evaluate")


def draw(result: dict[str, Any], path: Path) -> None:
    """Draw what `bench.speed` measured.

    Args:
        result: its JSON.
        path: the PNG to write.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (bars, parts, growth) = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
    times = result["times"]
    names = {
        "script": "one script",
        "naive": "naive pipeline",
        "cold": "this pipeline",
        "script fit": "model.fit",
        "fit": "this fit",
    }
    for position, name in enumerate(names):
        wall = times[name]["wall"]
        spread = [[wall["median"] - wall["min"]], [wall["max"] - wall["median"]]]
        colour = "C0" if name in ("cold", "fit") else "0.7"
        bars.bar(position, wall["median"], yerr=spread, color=colour, capsize=4)
    bars.set_xticks(range(len(names)), list(names.values()), rotation=20)
    bars.set_title("Cold run and training (median, min to max)")
    bars.set_ylabel("seconds")
    left = 0.0
    for part in PARTS:
        seconds = times[f"cold {part}"]["wall"]["median"]
        parts.barh(0, seconds, left=left, label=f"{part} {seconds:.1f} s")
        left += seconds
    parts.set_yticks([])
    parts.set_xlabel("seconds")
    parts.set_title("Where a cold run spends its time")
    parts.legend(loc="upper center", ncols=2)
    parts.set_ylim(-0.6, 1.2)
    for stage in ("load", "preprocess", "train"):
        points = {
            int(name.rsplit("x", 1)[1]): value
            for name, value in times.items()
            if name.startswith(f"{stage} x") and "memory" not in name
        }
        growth.plot(list(points), [value["wall"]["median"] for value in points.values()], marker="o", label=stage)
    growth.set_xscale("log", base=4)
    growth.set_xticks(list(points), [f"x{times}" for times in points])
    growth.set_ylim(bottom=0)
    growth.set_ylabel("microseconds an image")
    growth.set_title("Cost of an image as the data grows")
    growth.legend()
    figure.savefig(path, format="png", dpi=80, metadata={"Software": None})
    plt.close(figure)
