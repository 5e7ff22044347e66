"""Sets the published run of a method on verl's command line, where its user does not."""

import re
from collections.abc import Sequence
from dataclasses import asdict

from omegaconf import DictConfig, OmegaConf, open_dict

from selfdistill.study.verl_words import science
from selfdistill.training.verl.settings import run_of, tree_of

_KEY = re.compile(r"(?:\+{0,2}|~)(?P<key>[^=]+)(=.*)?", re.DOTALL)
#: Where verl's own default follows from what else is said.
_DERIVED = ("actor_rollout_ref.rollout.max_model_len",)
_LIMIT = "data.max_response_length"


def fill_in(config: DictConfig, words: Sequence[str]) -> None:
    """Set what is published of a method and no word names, in place: `+selfdistill.implementation=grpo` is a whole run.

    Files, model and machines stay as they are.

    Args:
        config: as it was composed.
        words: what it was composed with, beside verl's defaults.

    Raises:
        UserError: for a tree `selfdistill` that is no settings of a run.
    """
    tree = tree_of(config)
    run = run_of(tree, {})
    named = [match["key"] for word in words if (match := _KEY.fullmatch(word))]
    values = {key.lstrip("+"): value for key, value in science(asdict(run)).items()}
    with open_dict(config):
        if not _names(named, _LIMIT):
            for section in ("rollout", "validation"):
                limit = getattr(run, section).max_response_tokens
                OmegaConf.update(config, f"selfdistill.{section}.max_response_tokens", limit, force_add=True)
        for key, value in values.items():
            if key not in _DERIVED and not _names(named, key):
                OmegaConf.update(config, key, value, force_add=True)


def _names(named: Sequence[str], key: str) -> bool:
    """Returns whether a word sets this key, a part of it, or what it is a part of."""
    return any(f"{key}.".startswith(f"{each}.") or f"{each}.".startswith(f"{key}.") for each in named)
