"""What a model is tried on before anything is computed with it: a few short rows, in well under a second."""

from transformers import PreTrainedConfig, PreTrainedModel

from selfdistill.errors import UserError
from selfdistill.models.finite import why_not_finite
from selfdistill.scoring.lengths import position_count
from selfdistill.scoring.manner import Manner, check_rotation, manner_of, plain_logprobs, tokens_for, undisturbed

_TOKENS, _KEPT = 12, 7


def check_lengths(config: PreTrainedConfig, longest: int, remedy: str) -> None:
    """Compare the longest row that the settings allow with what the model has.

    Args:
        config: of the model.
        longest: tokens of prompt, hint and response together.
        remedy: what to lower, for the message.

    Raises:
        UserError: where there are fewer positions, and where rotary frequencies would depend on lengths.
    """
    positions = position_count(config)
    if positions is not None and longest > positions:
        raise UserError(
            f"run config: the model has {positions} positions, but prompts, hints and responses can reach {longest} "
            f"tokens; lower {remedy}"
        )
    check_rotation(config, longest)


def check_model(model: PreTrainedModel) -> Manner:
    """Try a model by itself: no state, mode or random number is another behind it.

    Returns how its rows may be put into one forward; `remark` says it in words.

    Raises:
        UserError: where log-probs are no numbers, differ between two forwards of one row, or depend on what follows.
    """
    name = f"{model.name_or_path or type(model).__name__} (model_type {model.config.get_text_config().model_type})"
    tokens = tokens_for(model, _TOKENS + 3)
    row, other = tokens[:_TOKENS], [*tokens[:_KEPT], *tokens[_KEPT + 3 :]]
    with undisturbed(model):
        first, again, changed = (plain_logprobs(model, each) for each in (row, row, other))
    if not bool(first.isfinite().any(dim=-1).all()) or bool(first.isnan().any()):
        raise UserError(f"{name}: its log-probs are no numbers ({why_not_finite(model)}); take another model")
    manner = manner_of(model)
    if _apart(first, again) > manner.rounding:
        raise UserError(
            f"{name}: two forwards of one row differ by {_apart(first, again):.2g} nats, so that scores of it mean "
            "nothing; take a model that computes the same twice"
        )
    if _apart(first[:_KEPT], changed[:_KEPT]) > manner.rounding:
        raise UserError(
            f"{name}: its log-probs of a token depend on the tokens behind it (by "
            f"{_apart(first[:_KEPT], changed[:_KEPT]):.2g} nats), so it is no causal language model; take one that is"
        )
    return manner


def remark(model: PreTrainedModel, manner: Manner) -> str | None:
    """What a user should know of the way in which a model is run; None where it is the usual one."""
    if manner.together:
        return None
    return (
        f"model_type {model.config.get_text_config().model_type}: padding moves its log-probs by {manner.padded:.2g} "
        "nats, so rows are scored one at a time, and prompts are drawn together where they have equal lengths"
    )


def _apart(first, second) -> float:
    """The largest difference in nats, infinities at the same places left out."""
    difference = (first - second).abs()
    return float(difference[difference.isfinite()].max()) if bool(difference.isfinite().any()) else 0.0
