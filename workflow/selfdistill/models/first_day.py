"""Tries a model on a few short rows before anything is computed with it, in well under a second."""

from collections.abc import Callable

from transformers import PreTrainedConfig, PreTrainedModel

from selfdistill.errors import UserError
from selfdistill.models.finite import why_not_finite
from selfdistill.scoring.lengths import length_of_dense_attention, position_count, scan_length
from selfdistill.scoring.manner import (
    Manner,
    check_rotation,
    distance,
    manner_of,
    plain_logprobs,
    tokens_for,
    undisturbed,
)

#: Tokens of the row whose log-probs may not depend on the next ones; more where a model takes many at a time.
_KEPT, _MORE, _MOST = 7, 5, 600


def check_lengths(config: PreTrainedConfig, longest: int, remedy: str, whose: str = "the model") -> None:
    """Compare the longest row that the settings allow with what the model has.

    Args:
        config: of the model.
        longest: tokens of prompt, hint and response together.
        remedy: what to lower, for the message.
        whose: which model, for the message.

    Raises:
        UserError: where there are fewer positions, and where rotary frequencies would depend on lengths.
    """
    positions = position_count(config)
    if positions is not None and longest > positions:
        raise UserError(
            f"run config: {whose} has {positions} positions, but prompts, hints and responses can reach {longest} "
            f"tokens; lower {remedy}"
        )
    check_rotation(config, longest)
    dense = length_of_dense_attention(config)
    if dense is not None and longest > dense:
        raise UserError(
            f"run config: prompts, hints and responses can reach {longest} tokens, but behind {dense} {whose} "
            f"({config.get_text_config().model_type}) chooses or compresses its keys, which padding and caches here do "
            "not follow; take a model that attends to all tokens"
        )


def try_model(model: PreTrainedModel, report: Callable[[str], None]) -> None:
    """Check a model, and report how its rows are put into forwards where that is not the usual way.

    Raises UserError as check_model does.
    """
    if (said := remark(model, check_model(model))) is not None:
        report(said)


def check_model(model: PreTrainedModel) -> Manner:
    """Try a model by itself: no state, mode or random number is another behind it.

    Returns how its rows may be put into one forward; `remark` says it in words.

    Raises:
        UserError: where log-probs are no numbers, differ between two forwards of one row, or depend on what follows.
    """
    name = f"{model.name_or_path or type(model).__name__} (model_type {model.config.get_text_config().model_type})"
    kept = (scan_length(model.config) or _KEPT - 1) + 1
    row = tokens_for(model, min(kept, _MOST) + _MORE)
    part = row[:-_MORE]
    try:
        with undisturbed(model):
            first, again, alone = (plain_logprobs(model, each) for each in (row, row, part))
        manner = manner_of(model)
    except Exception as error:  # whatever a model makes of a mask or positions that it does not know
        reason = f"{type(error).__name__}: {str(error).strip()}".partition("\n")[0]
        raise UserError(
            f"{name}: rows of tokens with mask and positions cannot be put through it ({reason}); take another model"
        ) from error
    if not bool(first.isfinite().any(dim=-1).all()) or bool(first.isnan().any()):
        raise UserError(f"{name}: its log-probs are no numbers ({why_not_finite(model)}); take another model")
    if (moved := distance(first, again)) > manner.rounding:
        raise UserError(
            f"{name}: two forwards of one row differ by {moved:.2g} nats, so that scores of it mean "
            "nothing; take a model that computes the same twice"
        )
    if (moved := distance(alone, first[: len(part)])) > manner.rounding:
        raise UserError(
            f"{name}: its log-probs of a token depend on the tokens behind it (by {moved:.2g} nats of {len(row)} "
            "tokens): here it does not compute as a causal language model; take another one"
        )
    return manner


def remark(model: PreTrainedModel, manner: Manner) -> str | None:
    """Returns what a user should know of the way in which a model is run; None where it is the usual one."""
    if manner.together:
        return None
    return (
        f"model_type {model.config.get_text_config().model_type}: padding moves its log-probs by {manner.padded:.2g} "
        "nats, so rows are scored one at a time, and prompts are drawn together where they have equal lengths"
    )
