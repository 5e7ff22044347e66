"""When a run has ended by updates that are not finite, and what a line of progress says of skipped ones."""

import itertools

import pytest

from selfdistill.errors import UserError
from selfdistill.runs.metrics import NONFINITE, SKIPPED
from selfdistill.training.updates import PATIENCE, UpdateWatch, skipped_text

MADE = {"actor/grad_norm": 1.0, SKIPPED: 0, NONFINITE: 0}
PART = {"actor/grad_norm": 1.0, SKIPPED: 1, NONFINITE: 1}  # one of two
IDLE = {SKIPPED: 2, NONFINITE: 0}  # nothing to learn from
ONE, TWO = {SKIPPED: 1, NONFINITE: 1}, {SKIPPED: 2, NONFINITE: 2}

#: Steps of a whole run, and the step from which it learned nothing more (None: it is published).
RUNS = {
    "all well": ([MADE] * 4, None),
    "one in the middle": ([MADE, ONE, MADE], None),
    "one at the end": ([MADE, MADE, ONE], None),
    "one, then nothing to learn": ([MADE, ONE, IDLE, IDLE], None),
    "every other": ([MADE, ONE] * 20, None),
    "a part of each": ([PART] * 40, None),
    "nothing to learn": ([IDLE] * 40, None),
    "two in the middle": ([MADE, TWO, ONE, MADE], None),
    "two at the end": ([MADE, ONE, ONE], 2),
    "both of the last step": ([MADE, TWO], 2),
    "two, nothing to learn between them": ([MADE, ONE, IDLE, ONE, IDLE], 2),
    "the only one": ([ONE], 1),
    "the only one beside idle steps": ([IDLE, ONE, IDLE], 2),
    "from the second on": ([MADE, *[ONE] * 30], 2),
    "from the first on": ([IDLE, *[TWO] * 30], 2),
}


def ended(steps, before=()):
    """The error of a run with these steps after those before, and the step at which it came (None: its end)."""
    watch, number = UpdateWatch([{"step": i} | step for i, step in enumerate(before, 1)]), None
    try:
        for number, step in enumerate(steps, len(before) + 1):
            watch.see(number, step)
        number = None
        watch.finish()
    except UserError as error:
        return str(error), number
    return None


@pytest.mark.parametrize("name", RUNS)
def test_a_run_that_learns_nothing_more_ends_with_the_step_since_when(name):
    steps, since = RUNS[name]
    found = ended(steps)
    assert (found and found[0].partition(":")[0]) == (None if since is None else f"step {since}")
    if found and found[1]:
        assert steps[: found[1]].count(ONE) + steps[: found[1]].count(TWO) == PATIENCE
    # Resumed after any step that it came to, it ends alike.
    for done in range(1, (found and found[1]) or len(steps) + 1):
        assert ended(steps[done:], steps[:done]) == found


def test_no_single_update_ends_a_run_and_none_is_missed():
    """All runs of up to six steps against the words of the rule."""
    kinds = {"made": MADE, "one": ONE, "idle": IDLE}
    for length in range(1, 7):
        for names in itertools.product(kinds, repeat=length):
            after = names[::-1].index("made") if "made" in names else length
            bad = names[length - after :].count("one")
            assert bool(ended([kinds[name] for name in names])) == (bad >= 2 or (bad == 1 and after == length)), names


def test_progress_says_what_was_skipped():
    assert [skipped_text(step) for step in (MADE, ONE, IDLE, {SKIPPED: 3, NONFINITE: 2}, {})] == [
        "",
        "skipped 1 update (1 not finite)",
        "skipped 2 updates",
        "skipped 3 updates (2 not finite)",
        "",
    ]
