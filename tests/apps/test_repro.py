"""params.yaml is checked as a whole before anything runs."""

from pathlib import Path

import pytest

from digits.apps.repro import require_params
from dvcproof.runtime.program import InputError
from tests.support.project import recipe_params


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("\nconvnet:", "\nconvent:", "parameter 'convent' in .*Did you mean 'convnet'"),
        ("\n  model: dense", "\n  model: resnet", "parameter 'train.model' in .*expected one of 'dense', 'convnet'"),
        ("\n  worst: 25", "\n  worst: 0", "parameter 'evaluate.worst' in .*Got 0"),
    ],
)
def test_a_mistake_is_named_before_anything_runs(tmp_path: Path, old: str, new: str, match: str) -> None:
    params = recipe_params(tmp_path)
    require_params(params)
    text = params.read_text(encoding="utf-8")
    assert text.count(old) == 1
    params.write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(InputError, match=match):
        require_params(params)
