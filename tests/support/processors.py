"""Run the stages on small samples, natively and emulated, with the parameters of the recipe."""

import json
from pathlib import Path

from bench.processors import STAGES, Processor, calls, hashes, make_sample, run_code
from tests.support.project import ROOT, recipe_params

MODEL = "data/model.keras"

#: The sample of each network. The batch size does not divide the number of images, and the tile of a kernel does not
#: divide the rows of half a batch.
SMALL = {
    "dense": {"train": 150, "test": 50, "epochs": 2, "batch_size": 100},
    "convnet": {"train": 20, "test": 20, "epochs": 2, "batch_size": 14},
}


def write_recipe(root: Path) -> Path:
    """Write the graph, the real digits and the parameters of the recipe into a folder, for `make_sample`."""
    (root / "data").mkdir()
    (root / "data" / "mnist.npz").symlink_to(ROOT / "data" / "mnist.npz")
    for name in ("dvc.yaml", "requirements.lock"):
        (root / name).symlink_to(ROOT / name)
    recipe_params(root)
    return root


def run_sample(recipe: Path, folder: Path, model: str, processor: Processor) -> dict[str, str]:
    """Run the four stages on the small sample of a network in a new folder, each in its own process."""
    make_sample(recipe, folder, model, SMALL[model])
    for stage in STAGES:
        run_code(processor, folder, calls(folder, [stage]), root=ROOT)
    return hashes(folder)


def run_sample_at_once(recipe: Path, folder: Path, model: str, processor: Processor) -> dict[str, str]:
    """Run the four stages as `run_sample` does, but in one process."""
    make_sample(recipe, folder, model, SMALL[model])
    run_code(processor, folder, calls(folder), root=ROOT)
    return hashes(folder)


def recorded_deviations(folder: Path) -> list[str]:
    """Read the recorded reasons why the training in a sample's folder may differ in bits from others."""
    record = json.loads((folder / "data" / "platform.json").read_text(encoding="utf-8"))
    return list(record["may_differ_in_bits_because"])
