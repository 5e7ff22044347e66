"""Which recorded rollouts a token view holds: a page has room for few of a study's thousands."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

from selfdistill.reporting.read.runs import RunFiles


@dataclass(frozen=True)
class Candidate:
    """A recorded rollout: of which run, its number in the run's file, and the bytes that it takes of a page."""

    run: RunFiles
    number: int
    size: int


def _method(candidate: Candidate) -> Hashable:
    return candidate.run.model, candidate.run.method


def _variant(candidate: Candidate) -> Hashable:
    return candidate.run.model, candidate.run.variant


def _run(candidate: Candidate) -> Hashable:
    return candidate.run.name


def choose(candidates: Sequence[Candidate], limit: int) -> list[Candidate]:
    """As many as `limit` bytes hold, of one task's; of each run, those that come first are preferred.

    One of every method and model comes before a second one of any; then one of every other variant, of every other
    seed, and so on in turns. Where space is short, a shorter rollout is taken in place of the preferred one.
    """
    # A method's own name before its variants, seed by seed.
    waiting = sorted(candidates, key=lambda each: (each.run.variant != each.run.method, each.run.seed))
    shown: list[Candidate] = []
    for group in (_method, _variant, _run):
        done = {group(each) for each in shown}
        shown += _one_of_each([each for each in waiting if group(each) not in done], group, limit - _bytes(shown))
    while waiting:
        here = {(each.run.name, each.number) for each in shown}
        waiting = [each for each in waiting if (each.run.name, each.number) not in here]
        more = _one_of_each(waiting, _run, limit - _bytes(shown))
        if not more:
            break
        shown += more
    return shown


def _one_of_each(candidates: Sequence[Candidate], group: Callable[[Candidate], Hashable], room: int) -> list[Candidate]:
    """One candidate of every group: the first that is no larger than the group's share of the room."""
    groups: dict[Hashable, list[Candidate]] = {}
    for candidate in candidates:
        groups.setdefault(group(candidate), []).append(candidate)
    least = {key: min(each.size for each in members) for key, members in groups.items()}
    while sum(least.values()) > room:  # not one of each fits: the longest give way, so that most groups are there
        del least[max(reversed(least), key=least.__getitem__)]
    spare, taken = room - sum(least.values()), []
    for left, (key, need) in zip(range(len(least), 0, -1), least.items(), strict=True):
        taken.append(next(each for each in groups[key] if each.size <= need + spare // left))
        spare -= taken[-1].size - need
    return taken


def _bytes(candidates: Sequence[Candidate]) -> int:
    return sum(each.size for each in candidates)
