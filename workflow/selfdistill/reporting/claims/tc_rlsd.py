"""Lists the claims of the TC-RLSD note, TC-1 to TC-4, for runs of config/tc_rlsd.yaml.

The note prints one seed, one draw and no interval; the table critiques_audit says which of its differences are more
than chance. Not judged: that a lower mean log-ratio of an external critic's teacher shows a more discerning one. It is
measured on wrong responses alone, where any longer prompt lowers it: the table critiques has it beside right ones.
"""

from collections.abc import Sequence

from selfdistill.reporting.claims.predicates import MATHS, Claim, Gap, Highest, Part

PAPER = "TC-RLSD"
GRPO, GOLD, SELF = "grpo", "rlsd-gold", "rlsd-self_critique"
CRITIQUE, ADDED, HYBRID = "rlsd-critique", "rlsd_add-critique", "rlsd_hybrid-critique"
CRITIQUE_GOLD = "rlsd-critique_gold"
#: Training steps of the note's runs: ten epochs.
STEPS = {"gsm8k_level1": 70, "gsm8k_level1_as_published": 80, "math_lighteval": 70}


def _claim(name: str, sentence: str, parts: Sequence[Part], published: str) -> Claim:
    return Claim(name, PAPER, ("",), sentence, tuple(parts), {"": published}, STEPS)


def _higher(variant: str, other: str) -> Part:
    statement = f"{variant} scores higher than {other}"
    return Part(other, statement, Gap(variant, other, above=0.0), MATHS, planned=True, figures=("benchmarks",))


# fmt: off
CLAIMS: tuple[Claim, ...] = (
    _claim("TC-1", "critiques by another model teach more than the solution, than critiques of its own, or nothing",
           [Part("best", f"{CRITIQUE} is above {GRPO}, {GOLD} and {SELF}", Highest(CRITIQUE, (GRPO, GOLD, SELF)),
                 MATHS, planned=True, figures=("benchmarks",))],
           "MATH, peaks at one draw: 52.5 against 51.4, 51.8 and 51.7"),
    _claim("TC-2", "whatever the teacher reads, it is better than none",
           [_higher(GOLD, GRPO), _higher(SELF, GRPO)],
           "MATH, peaks: 51.8 and 51.7 against 51.4"),
    _claim("TC-3", "on problems that are nearly all solved, a critic that sees the solution teaches nothing more",
           [Part("tie", f"{CRITIQUE_GOLD} and {GRPO} differ little", Gap(CRITIQUE_GOLD, GRPO, -2.0, 2.0),
                 MATHS, planned=True, figures=("benchmarks",))],
           "gsm8k_level1: peak 37.4 against 36.6, final 36.0 both"),
    _claim("TC-4", "an added term goes on teaching where advantages vanish, as on problems that are nearly all solved",
           [_higher(ADDED, CRITIQUE), _higher(HYBRID, CRITIQUE), _higher(ADDED, GRPO), _higher(HYBRID, GRPO)],
           "a hypothesis of the note, without runs; as built, groups that are all right have no critique and no term"),
)
# fmt: on
