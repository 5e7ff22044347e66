"""Loads models that a run reads and never changes: an external teacher, and its reference.

They are in no checkpoint: what they were when the run began is noted in its state, and a run goes on with the same.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from selfdistill.errors import UserError
from selfdistill.files import write_json
from selfdistill.models.tokenizer_check import read_tokenizer
from selfdistill.runs.provenance import weights_digest

#: In a run's state: role -> folder and sha256 of the weights.
NOTED = "external_models.json"


def noted_models(state: Path, folders: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    """Return what a run's provenance says of its other models, and hold an earlier attempt's to it.

    Args:
        state: folder of the run's state; it is noted there.
        folders: "teacher", "reference" and "critic" -> folder, of those that there are.

    Returns:
        The same roles -> folder and weights_sha256.

    Raises:
        UserError: where the run began with other weights.
    """
    found = {
        role: {"folder": str(folder), "weights_sha256": weights_digest(Path(folder))}
        for role, folder in folders.items()
    }
    if not found:
        return {}
    file = Path(state) / NOTED
    if file.exists():
        before = json.loads(file.read_text(encoding="utf-8"))
        for role, facts in found.items():
            was = before.get(role, {}).get("weights_sha256")
            if was != facts["weights_sha256"]:
                raise UserError(
                    f"{facts['folder']}: this run's {role} had weights of SHA-256 {was} when the run began, and now "
                    f"has {facts['weights_sha256']}; bring the former back, or delete {state} to begin anew"
                )
    else:
        write_json(file, found)
    return found


def check_tokens(role: str, folder: Path, tokenizer: PreTrainedTokenizerBase) -> None:
    """Compare the tokens of another model with those of the student: it reads the student's ids as they are.

    Args:
        role: "teacher" or "reference".
        folder: of the model.
        tokenizer: the student's.

    Raises:
        UserError: where a token has another id, or only one of the two knows it.
    """
    own, other = tokenizer.get_vocab(), read_tokenizer(Path(folder)).get_vocab()
    unlike = sorted(token for token in own.keys() | other.keys() if own.get(token) != other.get(token))
    if unlike:
        first = unlike[0]
        said = [f"id {ids[first]}" if first in ids else "no id" for ids in (own, other)]
        raise UserError(
            f"{folder}: the {role}'s tokens are not the student's: {len(unlike)} of {len(own.keys() | other.keys())} "
            f"differ, the first being {first!r} ({said[0]} of the student, {said[1]} of the {role}); take a model with "
            "the student's tokenizer"
        )
