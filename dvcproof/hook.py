"""See each command of each stage: DVC runs it as `$SHELL -c COMMAND`, and SHELL may be a program of ours."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dvcproof.clone import Result

_SCRIPT = """#!/bin/sh
# Runs a command of a stage, and leaves a folder that says when it ran, how it ended and what it printed.
call=$(mktemp -d {folder}/XXXXXXXXXX) && pwd -P >"$call/cwd" && date +%s.%N >"$call/begin" || exit 125
printf %s "$DVC_STAGE" >"$call/stage" || exit 125
SHELL={shell}
export SHELL
case "$DVC_STAGE" in
{special}*) {command} "$@" ;;
esac {redirect}
status=$?
{show}
printf '%s %s' "$(date +%s.%N)" $status >"$call/end"
exit $status
"""


@dataclass
class Call:
    """What a stage did, in the order of its commands. A status is None where a command did not end."""

    begin: float
    seconds: float = 0.0
    statuses: list[int | None] = field(default_factory=list)
    output: str = ""
    folders: list[Path] = field(default_factory=list)

    @property
    def status(self) -> int | None:
        """The first exit status that is not 0."""
        return next((status for status in self.statuses if status != 0), 0)

    @property
    def last_lines(self) -> str:
        """The end of the output."""
        return Result(self.status, self.output).last_lines


class Hook:
    """A program that DVC takes for the shell.

    Args:
        command: the words of sh that run a command; `$call` is the folder of its notes.
        shell: what stages find in SHELL.
        special: stages that another command runs, and that command.
        live: whether a stage writes to the terminal; else its output is kept and shown once it has ended.
    """

    def __init__(
        self,
        folder: Path,
        command: str = "/bin/sh",
        *,
        shell: str = "/bin/sh",
        special: tuple[Sequence[str], str] = ((), ""),
        live: bool = False,
    ) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        stages = "|".join(map(shlex.quote, special[0]))
        script = _SCRIPT.format(
            folder=shlex.quote(str(folder)),
            shell=shlex.quote(shell),
            special=f'{stages}) {special[1]} "$@" ;;\n' if stages else "",
            command=command,
            redirect="" if live else '>"$call/output" 2>&1',
            show=":" if live else 'cat "$call/output"',
        )
        self.program = folder / "sh"
        self.program.write_text(script, encoding="utf-8")
        self.program.chmod(0o755)

    def variables(self) -> dict[str, str]:
        """Return the variables for DVC."""
        return {"SHELL": str(self.program)}

    def calls(self) -> dict[str, Call]:
        """Return what each stage did, in the order in which they ran."""
        found: dict[str, Call] = {}
        folders = [path.parent for path in self.folder.glob("*/stage")]
        begins = {folder: float(_read(folder / "begin") or 0) for folder in folders}
        for folder in sorted(folders, key=begins.__getitem__):
            call = found.setdefault(_read(folder / "stage"), Call(begins[folder]))
            end, _, status = _read(folder / "end").partition(" ")  # empty if it did not end, or the disk is full
            call.seconds += float(end) - begins[folder] if status else 0.0
            call.statuses.append(int(status) if status else None)
            call.output += _read(folder / "output")
            call.folders.append(folder)
        return found


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="surrogateescape") if path.exists() else ""
