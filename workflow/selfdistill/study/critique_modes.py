"""Declares the modes of each kind of critic, and what a critic's prompt may show."""

from collections.abc import Collection, Mapping

from selfdistill.errors import UserError
from selfdistill.study.templates import Template, read_text

#: Who writes: nobody; a server that speaks OpenAI's protocol; a second model in the process; the task's own rule, for
#: toys; the student.
KINDS = ("none", "server", "model", "rule", "self")
#: What a model that writes is asked for: a critique; the right steps again and the first wrong one repaired; a critique
#: by a critic that sees the dataset's solution.
WRITTEN = ("critique", "step_aligned", "critique_gold")
#: What needs no critic: the statement that the answer is wrong; the dataset's solution, or its answer alone.
FIXED = ("verdict", "gold")
#: Grader -> the kinds of critiques that its tasks' rule critic writes besides: of chains, tasks/chain_critique.py.
RULES: Mapping[str, tuple[str, ...]] = dict.fromkeys(("maths", "chain"), ("noquote", "plain", "fix", "answer"))
#: What a critic's prompt of one's own may show. The first two it must; the last two are of mode critique_gold.
PROMPT_SLOTS = ("problem", "response", "verdict", "words", "solution", "answer")
REQUIRED_SLOTS, GOLD_SLOTS = PROMPT_SLOTS[:2], PROMPT_SLOTS[4:]


def modes_of(kind: str, grader: str) -> tuple[str, ...]:
    """Return the modes that a kind of critic has in a task with this grader."""
    if kind == "rule":
        return tuple(dict.fromkeys((*FIXED, *RULES.get(grader, ()))))
    return WRITTEN


def read_prompt(path: str, mode: str) -> Template:
    """Read a critic's prompt from a text file of one's own.

    Raises UserError for a file that cannot be read, unknown slots, no slot for problem or response, and one for the
    dataset's solution or answer in a mode whose critic must not see them.
    """
    where = f"critic.prompt: {path}"
    found = Template(read_text(path, "critic.prompt"), PROMPT_SLOTS, where)
    _check_slots(found.slots, mode, where)
    return found


def _check_slots(slots: Collection[str], mode: str, where: str) -> None:
    for slot in REQUIRED_SLOTS:
        if slot not in slots:
            raise UserError(f"{where}: has no slot {{{slot}}}; the critic has to read it: add it")
    shown = [slot for slot in slots if slot in GOLD_SLOTS]
    if shown and mode != "critique_gold":
        raise UserError(
            f"{where}: shows {{{shown[0]}}}, but the critic of mode {mode} must not see it; take it out, or set "
            "critic.mode: critique_gold",
            keys=["critic.mode"],
        )
