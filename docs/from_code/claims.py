"""The table of all claims' parts."""

import re

from selfdistill.reporting.claims.catalogue import CLAIMS
from selfdistill.reporting.claims.predicates import Curve, Part
from selfdistill.reporting.claims.rlcsd import FAMILIES


def table_of_claims() -> str:
    """Returns the parts of all claims, with the range of each and the tasks that it is asked on.

    Parts that are the same but for the variant are one row.
    """
    tasks = {(): "all", ("maths",): "maths", ("knights",): "logic", FAMILIES: "both"}
    lines = ["| Claim | Part | Range | Tasks |", "|---|---|---|---|"]
    for claim in CLAIMS:
        head = f"**{claim.name}** {claim.sentence}" + (f" ({', '.join(claim.versions)})" if any(claim.versions) else "")
        variants: dict[tuple[str, str, str], list[str]] = {}
        for part in claim.parts:
            asked = tasks.get(part.families, ", ".join(part.families)) + (" \\*" if part.planned else "")
            words = re.sub(rf"(?<![\w-]){re.escape(part.variant)}(?![\w-])", "{}", part.statement, count=1)
            variants.setdefault((words, _range_of(part), asked), []).append(part.variant)
        for (words, held, asked), names in variants.items():
            lines.append(f"| {head} | {words.replace('{}', ' / '.join(names))} | {held} | {asked} |")
            head = ""
    return "\n".join(lines)


def _range_of(part: Part) -> str:
    control = ", beyond grpo's" if isinstance(part.predicate, Curve) and part.predicate.word.fault else ""
    premise = f", where {part.premise.variant} shows the fault" if part.premise else ""
    return f"{part.range}{control}{premise}"
