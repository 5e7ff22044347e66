"""Gets the critiques of a step's rollouts: whom to ask about, which are cached, which failed, and what is logged."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from selfdistill.critics.cache import CritiqueCache, key_of
from selfdistill.critics.findings import judges_right
from selfdistill.critics.request import FAILED, NOT_ASKED, REASONS, Critic, Critique, Request
from selfdistill.errors import UserError
from selfdistill.study.critic_settings import CriticSettings
from selfdistill.tasks.chain_feedback import WRONG

#: Failures that another try may well repeat, and what is said where there are no others.
_OF_THE_REQUEST = ("empty", "too_long_input", "refused")
_AGAIN = (
    " (asked again it may say the same: a server's model, context or filter can be changed, while another setting of "
    "critic makes another run)"
)


@dataclass(frozen=True)
class StepCritiques:
    """Holds what a critic said of a step's B rollouts.

    Attributes:
        critiques: one a rollout, also where nobody was asked.
        shown: what the teacher is to read; None where there is nothing.
        metrics: for the log.
    """

    critiques: list[Critique]
    shown: list[str | None]
    metrics: dict[str, float]


class CritiquedSteps:
    """A critic with its cache, for all steps of a run."""

    def __init__(
        self,
        critic: Critic,
        settings: CriticSettings,
        cache: CritiqueCache,
        report: Callable[[str], None] = lambda line: None,
    ):
        """Take a run's critic.

        Args:
            critic: who is asked.
            settings: of the run.
            cache: in the run's state.
            report: takes a line where something failed.
        """
        self._critic, self._settings, self._cache, self._report = critic, settings, cache, report

    def of_step(self, number: int, requests: Sequence[Request], unread: Sequence[str | None]) -> StepCritiques:
        """Return the critiques of a step, each asked for once; all are on the disk before this returns.

        Args:
            number: of the training step.
            requests: one a rollout.
            unread: why the loss reads no teacher of a rollout (zero_advantage, not_read); None where it does.

        Raises:
            UserError: where more than `critic.max_failed_share` of what was asked failed. What was written is kept, and
                the failures are not: the step is asked again when the run is started again.
        """
        began = time.monotonic()
        praised = self._settings.right == "praise"
        reasons = [
            "right" if request.correct and not praised else why for request, why in zip(requests, unread, strict=True)
        ]
        asked = [row for row, reason in enumerate(reasons) if reason is None]
        step = number if self._settings.kind == "self" else None
        keys = {row: key_of(self._critic.identity, requests[row], step) for row in asked}
        answers = {key: known for key in keys.values() if (known := self._cache.get(key, number)) is not None}
        hits = sum(key in answers for key in keys.values())
        self._ask(number, requests, keys, answers)
        critiques = [
            answers[keys[row]] if row in keys else Critique(reason=reasons[row] or "ok") for row in range(len(requests))
        ]
        self._note_failures(number, {keys[row]: critiques[row] for row in asked}, [critiques[row] for row in asked])
        shown = [self._text_for_teacher(each, request) for each, request in zip(critiques, requests, strict=True)]
        metrics = self._metrics(requests, critiques, shown, hits)
        return StepCritiques(critiques, shown, metrics | {"timing_s/critique": time.monotonic() - began})

    def _ask(self, step: int, requests: Sequence[Request], keys: dict[int, str], answers: dict[str, Critique]) -> None:
        """Ask about what is not known yet, and add it to the answers. Texts are in the cache as soon as they come.

        Raises UserError where too much failed, and before all were asked about where `critic.in_flight` failed: at a
        server that is down thousands would each wait for it.
        """
        first: dict[str, int] = {}
        for row, key in keys.items():
            if key not in answers:
                first.setdefault(key, row)
        names, rows = list(first), Counter(keys.values())
        failed = [answers[key] for key in keys.values() if key in answers and answers[key].failed]

        def arrived(number: int, critique: Critique) -> None:
            if not critique.failed:
                self._cache.put(names[number], critique)
            else:
                failed.extend([critique] * rows[names[number]])
                if len(failed) >= self._settings.in_flight:
                    self._check_failures(step, failed, len(keys))

        try:
            new = self._critic.critiques([requests[row] for row in first.values()], arrived) if first else []
        finally:
            self._cache.sync()
        answers.update(zip(names, new, strict=True))
        self._check_failures(step, [answers[key] for key in keys.values() if answers[key].failed], len(keys))

    def _check_failures(self, step: int, failed: Sequence[Critique], asked: int) -> None:
        """Raise UserError where too much failed of what a step asks about."""
        limit, stops = self._settings.max_failed_share, self._settings.on_failure == "stop"
        if failed and (stops or len(failed) > limit * asked):
            allowed = "none is allowed" if stops else f"more than {limit:.0%}"
            again = _AGAIN if all(each.reason in _OF_THE_REQUEST for each in failed) else ""
            raise UserError(
                f"{_failure_line(step, failed, asked)}: {allowed} (critic.on_failure, critic.max_failed_share); what "
                f"it wrote is kept in {self._cache.path}: see to the critic, and start the run again, which goes on "
                f"from its checkpoint{again}"
            )

    def _note_failures(self, number: int, by_key: dict[str, Critique], asked: Sequence[Critique]) -> None:
        """Note what failed, so that the step can be computed again as it is now."""
        if not (failed := [each for each in asked if each.failed]):
            return
        self._report(_failure_line(number, failed, len(asked)))
        for key, critique in by_key.items():
            if critique.failed and self._cache.get(key, number) is None:
                self._cache.put_failure(key, number, critique)
        self._cache.sync()

    def _text_for_teacher(self, critique: Critique, request: Request) -> str | None:
        settings = self._settings
        if critique.failed:
            return WRONG if settings.on_failure == "verdict" and not request.correct else None
        if settings.judged_right == "drop" and judges_right(critique, request):
            return None
        if settings.leaks == "drop" and critique.leak:
            return None
        return critique.text or None

    def _metrics(
        self, requests: Sequence[Request], critiques: Sequence[Critique], shown: Sequence[str | None], hits: int
    ) -> dict[str, float]:
        """Shares and means of a step; what is a share of nothing is left out."""
        rows = range(len(requests))
        wrong = [row for row in rows if not requests[row].correct]
        asked = [row for row in rows if critiques[row].reason not in NOT_ASKED]
        texts = [row for row in asked if not critiques[row].failed]
        reasons = Counter(each.reason for each in critiques)
        found = {"critique/coverage": _share(rows, lambda row: shown[row] is not None)}
        if wrong:
            found["critique/of_wrong"] = _share(wrong, lambda row: shown[row] is not None)
        if asked:
            found["critique/failed"] = _share(asked, lambda row: critiques[row].reason in FAILED)
            found["critique/cache_hits"] = hits / len(asked)
        if texts:
            found |= {
                "critique/tokens_mean": sum(critiques[row].tokens for row in texts) / len(texts),
                "critique/seconds": sum(critiques[row].seconds for row in texts) / len(texts),
                "critique/truncated": _share(texts, lambda row: critiques[row].truncated),
                "critique/judged_right": _share(texts, lambda row: judges_right(critiques[row], requests[row])),
                "critique/answer_leak": _share(texts, lambda row: critiques[row].leak),
            }
        return found | {f"critique/reason/{reason}": reasons[reason] / len(rows) for reason in REASONS}


def _failure_line(step: int, failed: Sequence[Critique], asked: int) -> str:
    """What failed of a step, in words."""
    said = ", ".join(f"{reason} {n}" for reason, n in Counter(each.reason for each in failed).most_common())
    detail = next((f"; for example: {each.detail}" for each in failed if each.detail), "")
    return f"the critic failed for {len(failed)} of {asked} rollouts of step {step} ({said}{detail})"


def _share(rows: Sequence[int], holds: Callable[[int], bool]) -> float:
    return sum(map(holds, rows)) / len(rows)
