"""Check that dvc.lock is fresh, and that a clean clone gives the committed bytes, after a look at params.yaml."""

from pathlib import Path

from digits.networks import NETWORKS
from digits.params import require_sections
from dvcproof import verify as proof


def main() -> None:
    params = Path("params.yaml")
    if params.is_file():
        require_sections(params, NETWORKS)
    proof.main()
