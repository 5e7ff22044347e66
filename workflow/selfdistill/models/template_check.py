"""Checks chat templates: that they ask the question, never read the clock, and end turns where responses end.

A template is a program of the model's authors. One that drops the question, or that draws at random, would be trained
on without a word.
"""

import threading
from collections.abc import Callable
from typing import TypeVar

from transformers import GenerationConfig, PreTrainedTokenizerBase

from selfdistill.errors import UserError
from selfdistill.models.chat import (
    PLAIN,
    REMEDY,
    ChatSettings,
    configured_ends,
    control_tokens,
    encode_chat,
    leaves_out,
    render,
    shows,
    turn_end,
    turn_marks,
)
from selfdistill.tasks.prompts import Message

T = TypeVar("T")

#: Messages as problems are: of one line and of several, with formulas, braces that templates use, and other scripts.
_PROBES = (
    PLAIN,
    'Is it true?\nFirst: A says {{ B }} lies.\n\nSecond: $\\frac{1}{2} < x_{1}$ & "so" on.',
    "Wie groß ist 3 µm² · 10⁶? 数学 🙂 {% if x %}",
)
#: Renderings of one message; a template that draws one of two things at random passes with probability 2^-15.
_RENDERINGS = 16
#: A template takes milliseconds. One that loops for longer is given up; it cannot be stopped, but ends with the job.
_PATIENCE_SECONDS = 60.0


def check_prompts(
    tokenizer: PreTrainedTokenizerBase,
    chat: ChatSettings,
    generation_config: GenerationConfig | None = None,
    report: Callable[[str], None] = lambda line: None,
) -> None:
    """Check, before anything is trained or drawn, that prompts are what they are meant to be.

    Args:
        tokenizer: with its chat template.
        chat: the run's settings.
        generation_config: of the model, for the ids that end a response.
        report: takes a line where the template ends turns with a token that the folder does not name as an end.

    Raises:
        UserError: for a template that cannot be rendered within a minute, that leaves out the message, that gives no
            tokens, or that says something else at another time; for control tokens in the run's own template.
    """
    place = f"{tokenizer.name_or_path}: the chat template"
    controls = {**control_tokens(tokenizer), **turn_marks(tokenizer, chat)} if chat.template else {}
    if spelt := [spelling for spelling in controls.values() if spelling and spelling in chat.template]:
        raise UserError(
            f"chat.template: spells {spelt[0]!r}, a control token of {tokenizer.name_or_path}, which would end or "
            "begin a turn; take it out"
        )

    def rendered(message: str) -> str:
        return render(tokenizer, [Message("user", message)], chat)

    for probe, text in zip(_PROBES, _within_patience(lambda: [*map(rendered, _PROBES)], place), strict=True):
        if not text.strip():
            raise UserError(f"{place} renders nothing for a conversation of one user message; {REMEDY}")
        if not shows(text, probe):
            raise leaves_out(tokenizer, Message("user", probe), text)
        encode_chat(tokenizer, probe, chat)
    if len({rendered(PLAIN) for _ in range(_RENDERINGS)}) > 1:
        raise UserError(
            f"{place} renders one message in more than one way (it draws at random, or reads the clock otherwise than "
            f"by strftime_now, which tells chat.date); {REMEDY}"
        )
    end = turn_end(tokenizer, chat)
    if end is not None and end not in (known := configured_ends(generation_config, tokenizer)):
        names = ", ".join(map(str, tokenizer.convert_ids_to_tokens(sorted(known)))) or "none"
        report(
            f"the chat template ends turns with {tokenizer.convert_ids_to_tokens(end)}, which the model's files do not "
            f"name as an end (they name {names}): responses end with it too"
        )


def _within_patience(work: Callable[[], T], what: str) -> T:
    """The work's result, done in a thread of its own. Raises what it raised, and UserError where it takes too long."""
    done: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(work())
        except BaseException as error:  # handed to the caller, below
            failed.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(_PATIENCE_SECONDS)
    if failed:
        raise failed[0]
    if not done:
        raise UserError(f"{what} takes more than {_PATIENCE_SECONDS:.0f} s for three messages (it loops); {REMEDY}")
    return done[0]
