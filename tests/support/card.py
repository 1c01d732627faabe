"""The front matter of the model card, and the files of a run."""

import re
from typing import Any

import yaml

from digits.apps.options import Files

#: The files of the run, under their default names in the working folder.
SOURCES = Files()


def front_matter(text: str) -> dict[str, Any]:
    """Return the front matter of a card. Its names are those of Hugging Face (huggingface/hub-docs, modelcard.md)."""
    match = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    assert match is not None
    found = dict(yaml.safe_load(match[1]))
    names = {"license", "library_name", "pipeline_tag", "tags", "metrics", "model-index"}
    assert {*found} - {"datasets"} == names
    return found
