"""Lists the claims of SDPO's own paper (arXiv 2601.20802), SDPO-1 to SDPO-9, for runs of config/sdpo.yaml.

The paper reports the best validation within hours; these are judged, as all claims here, by the final weights, which a
collapse before them refutes (within.csv has the best beside the last). All parts are asked of blocks in whose matrix
their variant is, so that studies of other papers say nothing of them. Not judged: that gains grow with the size of the
model, that they follow the first gap between student and self-teacher, and that less is forgotten: no block of the
matrix has what these need.
"""

from collections.abc import Sequence

from selfdistill.reporting.claims.predicates import (
    CHANGE,
    FALLS,
    LENGTH,
    LITTLE,
    MARGIN,
    VALIDATION,
    Against,
    Claim,
    Curve,
    Gap,
    Highest,
    Part,
    Predicate,
)

PAPER = "SDPO"
#: Graders of the tasks without an environment's feedback, and of code.
DOMAINS, CODE = ("choice", "tool_use"), ("code",)
#: Variants (config/methods.yaml) that the claims are about.
SIBLINGS, GRPO, ON_POLICY = "sdpo_official-siblings", "grpo-sdpo", "grpo-sdpo-on_policy"
FEEDBACK, CODE_GRPO = "sdpo_official-code", "grpo-sdpo-code"
#: Training steps of the paper's curves on code; of the others hours are said, not steps.
STEPS = {"livecodebench": 90}

_SCORES, _CURVES = ("benchmarks",), ("dynamics",)


def _claim(name: str, sentence: str, parts: Sequence[Part], published: str) -> Claim:
    return Claim(name, PAPER, ("",), sentence, tuple(parts), {"": published}, STEPS)


def _part(name: str, statement: str, predicate: Predicate, families: tuple[str, ...], figures=_SCORES) -> Part:
    return Part(name, statement, predicate, families, planned=True, figures=figures)


def _higher(variant: str, other: str, families: tuple[str, ...], above: float = 0.0) -> Part:
    relation = "scores higher than" if above == 0 else "scores no lower than"
    return _part(other, f"{variant} {relation} {other}", Gap(variant, other, above), families)


def _of_code(what: str) -> str:
    return f"{FEEDBACK}-{what}"


# fmt: off
CLAIMS: tuple[Claim, ...] = (
    _claim("SDPO-1", "SDPO beats grpo, on-policy or not, without any feedback but its own successes",
           [_part("average", f"{SIBLINGS} is above {GRPO} and {ON_POLICY}",
                  Highest(SIBLINGS, (GRPO, ON_POLICY)), DOMAINS)],
           "best within 5 h: in 7 of 10 blocks (0e6d510: not Biology, not tool use of Olmo), in 8 of 10 (v1.0.0)"),
    _claim("SDPO-2", "both beat the base model by far",
           [_higher(SIBLINGS, "base", DOMAINS), _higher(GRPO, "base", DOMAINS)],
           "within 5 h by 11.0 to 57.2 (SDPO), 10.2 to 39.6 (grpo) points; a part of it is the format"),
    _claim("SDPO-3", "SDPO answers in fewer words than grpo",
           [_part("length", f"at the end of training responses of {SIBLINGS} are shorter than those of {GRPO}",
                  Against(SIBLINGS, GRPO, LENGTH, "end", below=1 / CHANGE), DOMAINS, _CURVES)],
           "more than 3 times shorter on average, up to 11 times (Chemistry, Olmo)"),
    _claim("SDPO-4", "with an environment's feedback SDPO beats grpo on code",
           [_higher(FEEDBACK, CODE_GRPO, CODE), _higher(FEEDBACK, "base", CODE)],
           "48.8 against 41.2, base 27.9"),
    _claim("SDPO-5", "feedback and siblings both help",
           [_higher(FEEDBACK, _of_code("no_feedback"), CODE), _higher(FEEDBACK, _of_code("feedback_only"), CODE)],
           "at step 60: both 48.3, siblings alone 42.6, feedback alone 39.9"),
    _claim("SDPO-6", "a teacher without regularisation diverges, and which regularisation it is matters little",
           [_higher(FEEDBACK, _of_code("live"), CODE),
            _part("collapse", f"the validation accuracy of {_of_code('live')} falls",
                  Curve(_of_code("live"), VALIDATION, FALLS), CODE, _CURVES),
            _part("frozen", f"{FEEDBACK} and {_of_code('frozen')} differ little",
                  Gap(FEEDBACK, _of_code("frozen"), -LITTLE, LITTLE), CODE),
            _part("trust_region", f"{_of_code('trust_region')} scores no lower than {FEEDBACK}",
                  Gap(_of_code("trust_region"), FEEDBACK, -MARGIN), CODE)],
           "best to step 90: live 36.1, frozen 48.8, moving average 49.3, trust region 50.6"),
    _claim("SDPO-7", "the finer the credit, the better",
           [_part("token", f"{FEEDBACK} scores no lower than {_of_code('token')}",
                  Gap(FEEDBACK, _of_code("token"), -MARGIN), CODE),
            _higher(FEEDBACK, _of_code("sequence"), CODE), _higher(_of_code("sequence"), CODE_GRPO, CODE)],
           "distributions .49, drawn tokens .48, whole responses .46, grpo .41"),
    _claim("SDPO-8", "with grpo's advantage beside it SDPO is no better at 8B",
           [_part("share", f"{FEEDBACK} scores no lower than {_of_code('grpo_share')}",
                  Gap(FEEDBACK, _of_code("grpo_share"), -MARGIN), CODE)],
           "helps at 0.6B, hurts slightly at 8B"),
    _claim("SDPO-9", "users report that long runs collapse",
           [_part("validation", f"the validation accuracy of {SIBLINGS} falls",
                  Curve(SIBLINGS, VALIDATION, FALLS), DOMAINS, _CURVES)],
           "issue 25 of lasgroup/SDPO: tool use .65 to .68 until step 400, then to 0 by step 500"),
)
# fmt: on
