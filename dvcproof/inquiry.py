"""Why a stage differs: by chance, or under which circumstance."""

from collections.abc import Sequence

from dvcproof.alone import Alone, Outcome, first_difference
from dvcproof.circumstances import ADVICE, Circumstance, fixes
from dvcproof.clone import Result
from dvcproof.findings import Finding

#: What to do about each source of chance, by the beginning of its name in circumstances.fixes.
CHANCE_ADVICE = {
    "the order": "Sort before you write the elements of a set",
    "process": "Leave the number of the process out of the output",
    "the clock": "Leave the time, and the dates of files, out of the output, or make it a parameter",
    "the timing": "Fix the number of threads, and the order in which their results are put together",
    "addresses": "Leave `id()` and the addresses of objects out of the output",
}


class Inquiry:
    """Find the cause for which a stage differs, by running it alone.

    Args:
        alone: the stage.
        varied: the circumstances that can be varied.
        runs: how often it must be equal to be called so.
    """

    def __init__(self, alone: Alone, varied: Sequence[Circumstance], runs: int) -> None:
        self.alone, self.varied, self.runs = alone, varied, runs
        self.stage = alone.stage
        self.reference = alone.run()

    def is_equal(self, varied: Sequence[Circumstance]) -> bool:
        """Return whether a run under circumstances is equal to the first plain one."""
        return self.alone.run(varied).equals(self.reference)

    def findings(self) -> list[Finding]:
        """Return what is found; nothing if it is equal all the time."""
        if self.reference.status != 0:
            text = "it differs, but alone, from the same inputs, it fails, so that the cause cannot be found"
            fix = "Declare all that it needs as dependencies."
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
        """Return a run that differs under circumstances, if it does so again, and the plain one is still equal."""
        outcome = self.alone.run(varied)
        if outcome.equals(self.reference):
            self.alone.forget(outcome)
            return None
        return outcome if not self.is_equal(varied) and self.is_equal(()) else None

    def _least(self) -> list[Circumstance]:
        """Return circumstances that change it only together, none of them needlessly; empty if all of them do not."""
        least = list(self.varied)
        if self.is_equal(least):
            return []
        for one in self.varied:
            rest = [other for other in least if other is not one]
            if not self.is_equal(rest):
                least = rest
        return least

    def _accuse(self, varied: Sequence[Circumstance], outcome: Outcome) -> Finding:
        """Name circumstances; of the variables of the caller's shell, the one that matters."""
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
        """Halve the variables that are taken away, as long as it still differs."""

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
        """Say that it differs by itself, and what makes it equal when it is held fast."""
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
            names = ", ".join(one.name for one in tried) or "nothing, it is not possible here"
            evidence += f"\nheld fast in vain: {names}"
        fix += f". {excuse_hint(self.alone.declared(difference.path))}"
        return self.stage.finding("DP301", text, fix, path=difference.path, evidence=evidence)

    def _causes(self, tried: Sequence[Circumstance], *, seldom: bool) -> list[Circumstance]:
        """Return the fewest sources of chance that, held fast, make it equal."""
        for one in tried:
            if self._settles([one], seldom=seldom):
                return [one]
        # The clock first: its library names its memory by a process number, which must not be one of a namespace.
        causes = list(reversed(tried)) if self._settles(tried[::-1], seldom=seldom) else []
        for one in tried if causes else ():
            rest = [other for other in causes if other is not one]
            if self._settles(rest, seldom=seldom):
                causes = rest
        return causes[::-1]

    def _settles(self, held: Sequence[Circumstance], *, seldom: bool) -> bool:
        """Return whether a stage is equal each time with something held fast. What seldom differs runs more often."""
        first = self.alone.run(held)
        number = self.runs * (3 if seldom else 1) - 1
        return first.status == 0 and all(self.alone.run(held).equals(first) for _ in range(number))


def _chance_advice(cause: Circumstance) -> str:
    return next(advice for begin, advice in CHANCE_ADVICE.items() if cause.name.startswith(begin))


def excuse_hint(path: str) -> str:
    """Say how to declare that an output may vary."""
    return f"If it must vary, write why in dvc.yaml: `meta: {{dvcproof: {{varies: {{{path}: reason}}}}}}`."


def _last_lines(outcome: Outcome) -> str:
    return Result(outcome.status, outcome.said).last_lines
