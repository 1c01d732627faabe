"""Give `train.seed` the seed whose test accuracy is the nearest to the mean of the study over seeds.

python -m bench.typical_seed bench/results/seeds.json
"""

import argparse
import json
import sys
from pathlib import Path

from bench.seeds import nearest_seed
from bench.study import PARAMS
from dvcproof.runtime.program import run
from dvcproof.values import set_params


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.typical_seed", description=__doc__)
    parser.add_argument("study", type=Path, help="the study over seeds, .json")
    seed = nearest_seed(json.loads(parser.parse_args().study.read_text(encoding="utf-8")))
    set_params(PARAMS, {"train.seed": seed})
    sys.stdout.write(f"train.seed: {seed}\n")


if __name__ == "__main__":
    run(main)
