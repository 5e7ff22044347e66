"""What a method is, in one line, for readers of a report."""

#: By implementation, as a run's resolved config names it. Formulas: selfdistill.objectives.
_METHODS = {
    "base": "the untrained model, evaluated only",
    "grpo": "reinforcement learning from the verifier alone: no teacher",
    "opsd": "distils a teacher that has read the solution; rewards play no part",
    "sdpo": "distils a teacher that has read the solution, by Jensen-Shannon divergence; rewards play no part",
    "srpo": "grpo on correct rollouts, sdpo on wrong ones",
    "rlsd": "grpo whose token advantages are scaled by how far a hinted teacher agrees with each token",
    "rlcsd": "grpo whose token advantages are shifted by the contrast of a correct hint with wrong ones",
    "opsd_ectr": "opsd with a teacher sharpened by the contrast of a correct hint with a wrong one",
    "rlsd_ectr": "rlsd with the contrast of a correct hint with a wrong one in place of the one-sided signal",
    "rlsd_add": "rlsd with the teacher's evidence added to the advantages in place of scaling them",
    "rlsd_hybrid": "rlsd with the teacher's evidence both scaling the advantages and added to them",
}


def describe(implementation: str) -> str:
    """One line on a method; for a loss of the user's own, where its code is."""
    return _METHODS.get(implementation, f"a loss of one's own: {implementation}")
