"""Run the pipeline and use its results: python -m digits VERB."""

import difflib
import importlib
import sys
from pathlib import Path

from dvcproof.runtime.program import InputError, run
from dvcproof.surroundings import require_surroundings

#: The verbs, each with its purpose.
VERBS = {
    "repro": "run the stages that have changed, and print the result",
    "summary": "print the results of the last run",
    "predict": "read digits from pictures",
    "demo": "draw digits on a page in the browser, and see what the model reads",
    "report": "show on a page whether this run is better than an earlier one, and where it fails",
    "gate": "fail if the model is worse than that of another commit",
    "card": "write the model card",
    "export": "write the model as SavedModel and ONNX file, with its card",
    "workers": "train on several workers of this machine, to the same bytes",
    "verify": "check that dvc.lock is up to date, and that a clean clone gives the committed bytes",
    "doctor": "repair what a kill, a full disk or a damaged file left behind",
    "push": "share the runs of this machine through a store",
    "fetch": "copy the runs of others from a store",
    "audit": "re-run a random sample of the runs in a store, and name those that are not reproduced",
}
#: Verbs that run the `main` of this module. Every other verb runs the `main` of `digits.apps.VERB`.
MODULES = dict.fromkeys(("doctor", "push", "fetch", "audit"), "dvcproof.__main__")
#: Verbs that call DVC.
OF_DVC = ("repro", "verify", "doctor", "push", "fetch", "audit")
#: This project's own packages. If one of their modules is missing, the code is at fault, not the environment.
OWN = ("bench", "digits", "dvcproof", "exactkeras", "stages")


def main() -> None:
    verb = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if verb in ("-h", "--help"):
        verbs = "\n".join(f"  {verb:8} {purpose}" for verb, purpose in VERBS.items())
        sys.stdout.write(f"usage: python -m digits VERB ...\n\n{verbs}\n\nOptions: python -m digits VERB --help\n")
        return
    if verb not in VERBS:
        near = difflib.get_close_matches(verb, VERBS, n=1)
        hint = f"Did you mean `python -m digits {near[0]}`?" if near else "Run `python -m digits --help`."
        raise InputError(verb, "there is no such verb", hint=hint)
    if verb in OF_DVC and not {"-h", "--help"} & {*sys.argv}:
        require_surroundings(Path.cwd())
    if verb in MODULES:
        sys.argv[:2] = ["python -m digits", verb, *(["--fix"] if verb == "doctor" else [])]
    else:
        sys.argv[:2] = [f"python -m digits {verb}"]
    try:
        importlib.import_module(MODULES.get(verb, f"digits.apps.{verb}")).main()
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in OWN:
            raise
        outside = sys.prefix == sys.base_prefix
        hint = "Run `source .venv/bin/activate` first." if outside else "Run `make setup WITH=dev`."
        raise InputError(f"package {package}", "it is not installed", hint=hint) from None


if __name__ == "__main__":
    run(main)
