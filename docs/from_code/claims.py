"""The table of all claims' parts."""

from selfdistill.reporting.claims.catalogue import CLAIMS
from selfdistill.reporting.claims.predicates import Curve, Part
from selfdistill.reporting.claims.rlcsd import FAMILIES


def table_of_claims() -> str:
    """Returns the parts of all claims, with the range of each and the tasks that it is asked on."""
    tasks = {(): "all", ("maths",): "maths", ("knights",): "logic", FAMILIES: "all of the paper's"}
    lines = ["| Claim | Version | Part | Of | Range | Tasks |", "|---|---|---|---|---|---|"]
    for claim in CLAIMS:
        heads = [f"**{claim.name}** {claim.sentence}", ", ".join(claim.versions)]
        for part in claim.parts:
            asked = tasks.get(part.families, ", ".join(part.families)) + (", where planned" if part.planned else "")
            lines.append(f"| {' | '.join(heads)} | {part.statement} | {part.variant} | {_range_of(part)} | {asked} |")
            heads = ["", ""]
    return "\n".join(lines)


def _range_of(part: Part) -> str:
    control = ", beyond grpo's" if isinstance(part.predicate, Curve) and part.predicate.word.fault else ""
    premise = f", where {part.premise.variant} shows the fault" if part.premise else ""
    return f"{part.range}{control}{premise}"
