"""See each command of each stage: DVC runs it as `$SHELL -c COMMAND`, and SHELL may be a program of ours."""

import shlex
from pathlib import Path
from typing import NamedTuple

from dvcproof.clone import LAST_LINES

_SCRIPT = """#!/bin/sh
# Runs a command of a stage, and writes down when it began and ended, with its output.
folder={folder}
number=$(mktemp "$folder/XXXXXXXXXX") || exit 125
begin=$(date +%s.%N)
{prefix} {shell} "$@" >"$number.out" 2>&1
status=$?
cat "$number.out"
printf '%s\\n%s\\n%s\\n%s\\n' "$DVC_STAGE" "$begin" "$(date +%s.%N)" "$status" >"$number.call"
exit $status
"""


class Call(NamedTuple):
    """What a stage did.

    Args:
        seconds: of all its commands.
        status: the exit status of the last one.
        output: what they printed.
        begin: when the first one began, in seconds since 1970.
    """

    seconds: float
    status: int
    output: str
    begin: float

    @property
    def last_lines(self) -> str:
        """The end of the output."""
        return "\n".join(self.output.splitlines()[-LAST_LINES:])


class Hook:
    """A program that DVC takes for the shell.

    Args:
        folder: a new folder for it and for what it writes down.
        shell: the shell that runs the commands.
        prefix: a program with its options that runs the shell.
    """

    def __init__(self, folder: Path, shell: str = "/bin/sh", prefix: str = "") -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.program = folder / "sh"
        script = _SCRIPT.format(folder=shlex.quote(str(folder)), shell=shell, prefix=prefix)
        self.program.write_text(script, encoding="utf-8")
        self.program.chmod(0o755)

    def variables(self) -> dict[str, str]:
        """Return the variables for DVC."""
        return {"SHELL": str(self.program)}

    def calls(self) -> dict[str, Call]:
        """Return what each stage did, in the order in which they ran."""
        found: dict[str, Call] = {}
        parts = []
        for path in self.folder.glob("*.call"):
            words = path.read_text(encoding="utf-8").splitlines()
            output = path.with_suffix(".out").read_text(encoding="utf-8", errors="replace")
            if len(words) < 4:  # the disk is full
                continue
            parts.append((float(words[1]), words[0], float(words[2]), int(words[3]), output))
        for begin, stage, end, status, output in sorted(parts):
            before = found.get(stage, Call(0.0, 0, "", begin))
            found[stage] = Call(before.seconds + end - begin, status, before.output + output, before.begin)
        return found
