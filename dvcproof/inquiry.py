"""Find out why a stage's outputs differ: by chance, or because of a circumstance such as the time zone."""

from collections.abc import Sequence

from dvcproof.alone import Alone, Outcome, first_difference
from dvcproof.circumstances import ADVICE, Circumstance, fixes
from dvcproof.clone import Result
from dvcproof.findings import Finding

#: Advice for each source of chance. Keys are beginnings of the names in `circumstances.fixes`.
CHANCE_ADVICE = {
    "the order": "Sort before you write the elements of a set",
    "process": "Leave the process id out of the output",
    "the clock": "Leave the time, and the dates of files, out of the output, or make it a parameter",
    "the timing": "Fix the number of threads, and the order in which their results are combined",
    "addresses": "Leave `id()` and the addresses of objects out of the output",
}


class Inquiry:
    """Find the cause of a difference by running one stage alone.

    Args:
        alone: the stage to run.
        varied: the circumstances that can be varied.
        runs: the number of equal runs after which a stage counts as equal.
    """

    def __init__(self, alone: Alone, varied: Sequence[Circumstance], runs: int) -> None:
        self.alone, self.varied, self.runs = alone, varied, runs
        self.stage = alone.stage
        self.reference = alone.run()

    def is_equal(self, varied: Sequence[Circumstance]) -> bool:
        """Return whether a run with these circumstances varied is equal to the first plain run."""
        return self.alone.run(varied).equals(self.reference)

    def findings(self) -> list[Finding]:
        """Return the findings; none if all runs are equal."""
        if self.reference.status != 0:
            text = "it differs, but it fails when it runs alone from the same inputs, so the cause is unknown"
            fix = "Declare every file that it needs as a dependency."
            return [self.stage.finding("DP303", text, fix, evidence=_last_lines(self.reference))]
        for number in range(1, self.runs):
            again = self.alone.run()
            if not again.equals(self.reference):
                return [self._chance(again, seldom=number > 1)]
        found = [self._accuse([one], outcome) for one in self.varied if (outcome := self._differs([one]))]
        least = [] if found else self._least()
        outcome = self._differs(least) if least else None
        return [self._accuse(least, outcome)] if outcome else found

    def _differs(self, varied: Sequence[Circumstance]) -> Outcome | None:
        """Return a run that differs with these circumstances varied; None unless the difference can be confirmed.

        To confirm it, a second varied run must differ, and another plain run must be equal to the first.
        """
        outcome = self.alone.run(varied)
        if outcome.equals(self.reference):
            self.alone.forget(outcome)
            return None
        return outcome if not self.is_equal(varied) and self.is_equal(()) else None

    def _least(self) -> list[Circumstance]:
        """Return a minimal set of circumstances that change the outputs only together; empty if there is none."""
        least = list(self.varied)
        if self.is_equal(least):
            return []
        for one in self.varied:
            rest = [other for other in least if other is not one]
            if not self.is_equal(rest):
                least = rest
        return least

    def _accuse(self, varied: Sequence[Circumstance], outcome: Outcome) -> Finding:
        """Return the finding for circumstances that change an output or make the stage fail."""
        ones = [self._narrowed(one) if one.name == "environment" else one for one in varied]
        what = ", together with ".join(one.text for one in ones)
        advice = f"{ADVICE[ones[0].name]}."
        if outcome.status != 0:
            how = "does not end in time" if outcome.status is None else "fails"
            evidence = _last_lines(outcome)
            return self.stage.finding("DP303", f"it {how} if this is varied: {what}", advice, evidence=evidence)
        difference = first_difference(self.reference, outcome)
        text = f"{difference.path} depends on the {what}"
        fix = f"{advice} {excuse_hint(self.alone.declared(difference.path))}"
        return self.stage.finding("DP302", text, fix, path=difference.path, evidence=difference.how)

    def _narrowed(self, one: Circumstance) -> Circumstance:
        """Narrow down the environment variables that change the outputs, by bisection."""

        def without(names: Sequence[str]) -> Circumstance:
            text = f"variable {', '.join(names)} of the caller's shell"
            return Circumstance("environment", text, removed=tuple(names))

        names = list(one.removed)
        while len(names) > 1:
            halves = names[: len(names) // 2], names[len(names) // 2 :]
            half = next((half for half in halves if not self.is_equal([without(half)])), None)
            if half is None:
                break
            names = half
        return without(names) if len(names) < len(one.removed) else one

    def _chance(self, again: Outcome, *, seldom: bool) -> Finding:
        """Return the finding for a stage that differs from run to run, with the sources of chance that explain it."""
        if again.status != 0:
            text = "it fails now and then, though nothing is varied"
            fix = "Run it several times to see why."
            return self.stage.finding("DP301", text, fix, evidence=_last_lines(again))
        difference = first_difference(self.reference, again)
        evidence = difference.how.replace("varied", "again ")
        tried = fixes()
        causes = self._causes(tried, seldom=seldom)
        text = f"{difference.path} differs from run to run"
        if causes:
            text += f"; it is equal if one holds fast {' and '.join(one.name for one in causes)}"
            fix = "; ".join(_chance_advice(one) for one in causes)
        else:
            text += ": unseeded random numbers, or threads"
            fix = "Seed every source of random numbers; fix the number of threads"
            names = ", ".join(one.name for one in tried) or "nothing, which is not possible here"
            evidence += f"\nheld fast without effect: {names}"
        fix += f". {excuse_hint(self.alone.declared(difference.path))}"
        return self.stage.finding("DP301", text, fix, path=difference.path, evidence=evidence)

    def _causes(self, tried: Sequence[Circumstance], *, seldom: bool) -> list[Circumstance]:
        """Return a minimal set of sources of chance that, held fixed, make all runs equal."""
        for one in tried:
            if self._settles([one], seldom=seldom):
                return [one]
        # The clock must come first: its library names its shared memory after a process id, which must not be an id
        # inside a namespace.
        causes = list(reversed(tried)) if self._settles(tried[::-1], seldom=seldom) else []
        for one in tried if causes else ():
            rest = [other for other in causes if other is not one]
            if self._settles(rest, seldom=seldom):
                causes = rest
        return causes[::-1]

    def _settles(self, held: Sequence[Circumstance], *, seldom: bool) -> bool:
        """Return whether all runs are equal with `held` held fixed. Run a stage that `seldom` differs more often."""
        first = self.alone.run(held)
        number = self.runs * (3 if seldom else 1) - 1
        return first.status == 0 and all(self.alone.run(held).equals(first) for _ in range(number))


def _chance_advice(cause: Circumstance) -> str:
    return next(advice for begin, advice in CHANCE_ADVICE.items() if cause.name.startswith(begin))


def excuse_hint(path: str) -> str:
    """Return the advice on how to declare that an output may vary."""
    return f"If it must vary, write why in dvc.yaml: `meta: {{dvcproof: {{varies: {{{path}: reason}}}}}}`."


def _last_lines(outcome: Outcome) -> str:
    return Result(outcome.status, outcome.said).last_lines
