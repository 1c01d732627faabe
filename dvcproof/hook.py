"""Observe each command of each stage. DVC runs a command as `$SHELL -c COMMAND`, so SHELL can name a hook program."""

import shlex
from dataclasses import dataclass, field
from pathlib import Path

from dvcproof.clone import Result

_SCRIPT = """#!/bin/sh
# Runs a command of a stage, and writes its times, exit status and output into a new folder.
call=$(mktemp -d {folder}/XXXXXXXXXX) && pwd -P >"$call/cwd" && date +%s.%N >"$call/begin" || exit 125
printf %s "$DVC_STAGE" >"$call/stage" || exit 125
SHELL={shell}
export SHELL
{command} "$@" {redirect}
status=$?
{show}
printf '%s %s' "$(date +%s.%N)" $status >"$call/end"
exit $status
"""


@dataclass
class Call:
    """The commands of one stage, in order. The status of a command that did not end is None."""

    begin: float
    seconds: float = 0.0
    statuses: list[int | None] = field(default_factory=list)
    output: str = ""
    folders: list[Path] = field(default_factory=list)

    @property
    def status(self) -> int | None:
        """The first exit status other than 0; 0 if all commands succeeded."""
        return next((status for status in self.statuses if status != 0), 0)

    @property
    def last_lines(self) -> str:
        """The last lines of the output."""
        return Result(self.status, self.output).last_lines


class Hook:
    """A program that DVC runs instead of the shell.

    Args:
        folder: a new folder for the program and its notes.
        command: the shell code that runs a stage's command; `$call` is the folder of the notes on that command.
        shell: the value of SHELL inside the stages.
        live: whether a stage writes to the terminal directly. If not, its output is kept, and shown after the stage.
    """

    def __init__(self, folder: Path, command: str = "/bin/sh", *, shell: str = "/bin/sh", live: bool = False) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        script = _SCRIPT.format(
            folder=shlex.quote(str(folder)),
            shell=shlex.quote(shell),
            command=command,
            redirect="" if live else '>"$call/output" 2>&1',
            show=":" if live else 'cat "$call/output"',
        )
        self.program = folder / "sh"
        self.program.write_text(script, encoding="utf-8")
        self.program.chmod(0o755)

    def variables(self) -> dict[str, str]:
        """Return the environment variables that make DVC use this hook."""
        return {"SHELL": str(self.program)}

    def calls(self) -> dict[str, Call]:
        """Return the calls of each stage by address, in the order in which the stages ran."""
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
