"""Lists the claims of RLCSD's cross-model study (arXiv 2606.11709 v2, sect. 4.5), for runs of config/opd.yaml.

One seed and no interval there; whether gains of a few points over some seventy problems can be told from chance is for
the judge to say.
"""

from selfdistill.reporting.claims.predicates import MATHS, Alone, Claim, Gap, Leads, Part

PAPER = "RLCSD"
#: Students of the two teachers, and these, as config/opd.yaml calls them.
INSTRUCT, GRPO = "opd-instruct", "opd-grpo"
INSTRUCT_TEACHER, GRPO_TEACHER = "qwen3_4b_instruct", "qwen3_4b_base_grpo"
_STEPS = {"math": 300}
_SCORES, _TOKENS = ("benchmarks",), ("teachers",)

CLAIMS = (
    Claim(
        "OPD-1",
        PAPER,
        ("v2",),
        "Of two teachers, the one that is better by itself makes the worse student",
        (
            Part(
                "teachers alone",
                f"{INSTRUCT_TEACHER} has a higher average than {GRPO_TEACHER}",
                Alone(INSTRUCT, GRPO, INSTRUCT_TEACHER, GRPO_TEACHER),
                MATHS,
                planned=True,
                figures=_SCORES,
            ),
            Part(
                "students",
                f"the student of {GRPO_TEACHER} has a higher average than that of {INSTRUCT_TEACHER}",
                Gap(GRPO, INSTRUCT, above=0.0),
                MATHS,
                planned=True,
                figures=_SCORES,
            ),
            *(
                Part(
                    "gain",
                    f"{variant} has a higher average than base",
                    Gap(variant, "base", above=0.0),
                    MATHS,
                    planned=True,
                    figures=_SCORES,
                )
                for variant in (INSTRUCT, GRPO)
            ),
        ),
        {"v2": "teachers 34.9 and 32.5, students 15.7 and 20.7, base 5.1"},
        _STEPS,
    ),
    Claim(
        "OPD-2",
        PAPER,
        ("v2",),
        "Before any training, style tokens lead what the one teacher says, and task tokens what the other says",
        (
            Part(
                "style",
                f"more of KL(student, {INSTRUCT_TEACHER}) is on style than on task tokens",
                Leads(INSTRUCT, INSTRUCT_TEACHER, "style", "task"),
                MATHS,
                planned=True,
                figures=_TOKENS,
            ),
            Part(
                "task",
                f"more of KL(student, {GRPO_TEACHER}) is on task than on style tokens",
                Leads(GRPO, GRPO_TEACHER, "task", "style"),
                MATHS,
                planned=True,
                figures=_TOKENS,
            ),
        ),
        {"v2": "lists of fifteen types each, without class-wise numbers"},
        _STEPS,
    ),
)
