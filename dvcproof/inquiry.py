"""Find out why a stage's outputs differ: by chance, or because of a circumstance such as the time zone."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from dvcproof.alone import Outcome, declared, first_difference, remove
from dvcproof.circumstances import ADVICE, CHANCE, Circumstance, fixes
from dvcproof.clone import Result
from dvcproof.findings import Finding
from dvcproof.project import Stage

#: Runs a stage once under some circumstances.
Run = Callable[[Sequence[Circumstance]], Outcome]


class Inquiry:
    """Find the cause of a difference by running one stage repeatedly from the same inputs.

    Args:
        run: runs the stage.
        varied: the circumstances that can be varied.
        number: the number of equal runs after which a stage counts as equal.
    """

    def __init__(self, stage: Stage, run: Run, varied: Sequence[Circumstance], number: int) -> None:
        self.stage, self.varied, self.number, self.runs = stage, varied, number, 0
        self._run = run
        self.reference = self.run()

    def run(self, varied: Sequence[Circumstance] = ()) -> Outcome:
        """Run the stage once more."""
        self.runs += 1
        return self._run(varied)

    def is_equal(self, varied: Sequence[Circumstance], other: Outcome | None = None) -> bool:
        """Return whether a new run is equal to another run; None: to the first plain run."""
        outcome = self.run(varied)
        remove(outcome.top)
        return outcome.equals(other or self.reference)

    def findings(self) -> list[Finding]:
        """Return the findings; none if all runs are equal."""
        if self.reference.status != 0:
            text = "its outputs differ, but it fails when it runs again from the same inputs, so the cause is unknown"
            fix = "Declare every file that it needs as a dependency."
            return [self.stage.finding("DP303", text, fix, evidence=_last_lines(self.reference))]
        for number in range(1, self.number):
            again = self.run()
            if not again.equals(self.reference):
                return [self._chance(again, seldom=number > 1)]
            remove(again.top)
        found = [self._accuse([one], outcome) for one in self.varied if (outcome := self._differs([one]))]
        least = [] if found else _minimal(self.varied, lambda ones: not self.is_equal(ones))
        outcome = self._differs(least) if least else None
        return [self._accuse(least, outcome)] if outcome else found

    def _differs(self, varied: Sequence[Circumstance]) -> Outcome | None:
        """Return a run that differs with these circumstances varied; None unless the difference can be confirmed.

        To confirm it, a second varied run must differ, and another plain run must be equal to the first.
        """
        outcome = self.run(varied)
        if not outcome.equals(self.reference) and not self.is_equal(varied) and self.is_equal(()):
            return outcome
        remove(outcome.top)
        return None

    def _accuse(self, varied: Sequence[Circumstance], outcome: Outcome) -> Finding:
        """Return the finding for circumstances that change an output or make the stage fail."""
        if outcome.left:
            return self._left_running(outcome)
        ones = [self._narrowed(one) if one.name == "environment" else one for one in varied]
        what = ", together with ".join(one.text for one in ones)
        advice = f"{ADVICE[ones[0].name]}."
        if outcome.status != 0:
            how = "does not end in time" if outcome.status is None else "fails"
            evidence = _last_lines(outcome)
            return self.stage.finding("DP303", f"it {how} if this is varied: {what}", advice, evidence=evidence)
        difference = first_difference(self.reference, outcome)
        text, fix = f"{difference.path} depends on the {what}", f"{advice} {self._excuse(difference.path)}"
        return self.stage.finding("DP302", text, fix, path=difference.path, evidence=difference.how)

    def _left_running(self, outcome: Outcome) -> Finding:
        path, how = first_difference(self.reference, outcome)
        text = f"{path} differs from run to run: a program that the stage started still runs when the stage ends"
        return self.stage.finding("DP301", text, "Let the command wait for it: `wait`.", path=path, evidence=how)

    def _narrowed(self, one: Circumstance) -> Circumstance:
        """Narrow down the environment variables that change the outputs, by bisection."""
        names = one.removed
        while len(names) > 1:
            halves = names[: len(names) // 2], names[len(names) // 2 :]
            half = next((half for half in halves if not self.is_equal([replace(one, removed=half)])), None)
            if half is None:
                break
            names = half
        text = f"variable {', '.join(names)} of the caller's shell" if len(names) < len(one.removed) else one.text
        return replace(one, text=text, removed=names)

    def _chance(self, again: Outcome, *, seldom: bool) -> Finding:
        """Return the finding for a stage that differs from run to run, with the sources of chance that explain it."""
        if again.left and again.status == 0:
            return self._left_running(again)
        if again.status != 0:
            text, fix = "it fails now and then, though nothing is varied", "Run it several times to see why."
            return self.stage.finding("DP301", text, fix, evidence=_last_lines(again))
        difference = first_difference(self.reference, again)
        evidence = difference.how.replace("varied", "again ")
        tried = fixes()
        single = next(([one] for one in tried if self._settles([one], seldom=seldom)), [])
        causes = single or _minimal(tried, lambda ones: self._settles(ones, seldom=seldom))
        text = f"{difference.path} differs from run to run"
        if causes:
            text += f"; it is equal if {' and '.join(one.text for one in causes)} cannot vary"
            fix = "; ".join(CHANCE[one.name] for one in causes)
        else:
            text += ": unseeded random numbers, or threads"
            fix = "Seed every source of random numbers; fix the number of threads"
            names = ", ".join(one.text for one in tried) or "nothing, which is not possible here"
            evidence += f"\nheld fixed without effect: {names}"
        fix += f". {self._excuse(difference.path)}"
        return self.stage.finding("DP301", text, fix, path=difference.path, evidence=evidence)

    def _settles(self, held: Sequence[Circumstance], *, seldom: bool) -> bool:
        """Return whether all runs are equal with `held` held fixed. Run a stage that `seldom` differs more often."""
        held = held[::-1]  # the clock first: faketime needs a process number of this machine, not of a namespace
        first = self.run(held)
        remove(first.top)
        number = self.number * (3 if seldom else 1) - 1
        return first.status == 0 and all(self.is_equal(held, first) for _ in range(number))

    def once(self, first: Outcome, other: Outcome) -> Finding:
        """Return the finding for a difference of two runs that no later run has repeated."""
        if other.status != 0:
            text = f"it failed once, with everything varied, but not again in {self.runs} runs"
            return self.stage.finding("DP303", text, "Run it several times to see why.", evidence=_last_lines(other))
        path, how = first_difference(first, other)
        text = f"{path} differed once, but not again in {self.runs} runs: a rare difference by chance"
        fix = f"Look for threads and unseeded random numbers. {self._excuse(path)}"
        return self.stage.finding("DP301", text, fix, path=path, evidence=how)

    def _excuse(self, path: str) -> str:
        """Return the advice on how to declare that an output may vary."""
        words = f"varies: {{{declared(self.stage, path)}: reason}}"
        return f"If it must vary, write why in dvc.yaml: `meta: {{dvcproof: {{{words}}}}}`."


def _minimal(ones: Sequence[Circumstance], works: Callable[[Sequence[Circumstance]], bool]) -> Sequence[Circumstance]:
    """Return a minimal part of `ones` for which `works` is true; empty if it is false for all of them."""
    if not works(ones):
        return []
    for one in ones:
        rest = [other for other in ones if other is not one]
        if works(rest):
            ones = rest
    return ones


def _last_lines(outcome: Outcome) -> str:
    return Result(outcome.status, outcome.said).last_lines
