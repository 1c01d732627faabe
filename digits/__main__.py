"""Run the pipeline and use what it made: python -m digits VERB."""

import difflib
import importlib
import sys

from dvcproof.runtime.program import InputError, run

#: What a person may ask for.
VERBS = {
    "repro": "run what has changed of the pipeline, and print the result",
    "summary": "print the results of the last run",
    "predict": "read digits from pictures",
    "demo": "draw digits on a page in the browser, and see what the model reads",
    "report": "write a page: is this run better than an earlier one, and where does it fail",
    "gate": "fail if the model is worse than that of another commit",
    "card": "write the model card",
    "export": "write the model as SavedModel and ONNX file, with its card",
    "workers": "train on several workers of this machine, to the same bytes",
    "verify": "check that dvc.lock is fresh, and that a clean clone gives the committed bytes",
    "doctor": "mend what a kill, a full disk or a damaged file left behind",
    "push": "send what has run here to a store that others read",
    "fetch": "take what others have run from a store",
    "audit": "run again a sample of the runs in a store, and name those that do not reproduce",
}
#: The functions of verbs that are not `main` in the module of `digits/apps` with their name.
FUNCTIONS = {
    "doctor": "dvcproof.doctor:main",
    "push": "dvcproof.share:main_push",
    "fetch": "dvcproof.share:main_fetch",
    "audit": "dvcproof.audit:main",
}


def main() -> None:
    verb = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if verb in ("-h", "--help"):
        verbs = "\n".join(f"  {verb:8} {purpose}" for verb, purpose in VERBS.items())
        sys.stdout.write(f"usage: python -m digits VERB ...\n\n{verbs}\n\npython -m digits VERB --help says more.\n")
        return
    if verb not in VERBS:
        near = difflib.get_close_matches(verb, VERBS, n=1)
        hint = f"Did you mean `python -m digits {near[0]}`?" if near else "Run `python -m digits --help`."
        raise InputError(verb, expected="a verb", received="an unknown one", hint=hint)
    sys.argv[:2] = [f"python -m digits {verb}"]
    module, _, function = FUNCTIONS.get(verb, f"digits.apps.{verb}:main").partition(":")
    try:
        getattr(importlib.import_module(module), function)()
    except ModuleNotFoundError as error:
        outside = sys.prefix == sys.base_prefix
        hint = "Run `source .venv/bin/activate` first." if outside else "Run `make setup WITH=dev`."
        raise InputError(f"package {error.name}", expected="it to be installed", received="none", hint=hint) from None


if __name__ == "__main__":
    run(main)
