"""Lists the claims of the RLCSD paper (arXiv 2606.11709) in both of its versions, C1 to C12.

Claims of both versions have one name where they are about the same runs. What the second version says of its own rlcsd
(`-v2`: another teacher, hints and constants) or tells the other way round has a claim of its own. On logic the first
version trained rlcsd with five times the rate of the other methods: claims at equal rates are about `rlcsd`, those
as published, `-lr`, about `rlcsd-lr5e6`.
"""

from collections.abc import Sequence
from dataclasses import replace

from selfdistill.reporting.claims.predicates import (
    BOUNDED,
    ENTROPY,
    EXPLODES,
    FALLS,
    GROWS,
    IS_BOUNDED,
    KEPT,
    LENGTH,
    LENGTHENS,
    LITTLE,
    LOGIC,
    MARGIN,
    MATHS,
    REWARD,
    SHRINKS,
    STABLE,
    VALIDATION,
    Against,
    Claim,
    Curve,
    GainsBeyond,
    Gap,
    Highest,
    Part,
    Style,
    Word,
)
from selfdistill.study.hint_settings import HINT_SETTINGS, SECOND_VERSION

PAPER = "RLCSD"

#: What rlcsd has to beat: the other rows of the paper's main tables, of its second version too.
RIVALS = ("base", "grpo", "opsd", "sdpo", "srpo", "rlsd")
RIVALS_V2 = ("base", "grpo-v2", "opsd", "sdpo", "srpo-v2", "rlsd-v2")
#: Variants that stand for one version of the paper, or one rate.
SECOND, FAST = "rlcsd-v2", "rlcsd-lr5e6"
#: Graders of the tasks that its claims are about, the chains of sums of the demonstration among them. Tasks of other
#: papers have other methods, for want of which a claim would stay open.
FAMILIES = (*MATHS, *LOGIC, "chain")
#: Training steps of the paper's curves.
STEPS = {"math": 480, "logic": 250}

_SCORES, _CURVES = ("benchmarks",), ("contrast", "dynamics")
_WORDS = {ENTROPY: "entropy", LENGTH: "length", REWARD: "reward", VALIDATION: "validation"}


def _claim(name: str, sentence: str, parts: Sequence[Part], **published: str) -> Claim:
    of_paper = tuple(part if part.families else replace(part, families=FAMILIES) for part in parts)
    return Claim(name, PAPER, tuple(published), sentence, of_paper, published, STEPS)


def _highest(variant: str, rivals: tuple[str, ...] = RIVALS, **about) -> Part:
    statement = f"{variant} has the highest average of its block"
    return Part("average", statement, Highest(variant, rivals), figures=_SCORES, **about)


def _higher(variant: str, other: str, **about) -> Part:
    return Part(other, f"{variant} scores higher than {other}", Gap(variant, other, 0), figures=_SCORES, **about)


def _beyond(variant: str, other: str, **about) -> Part:
    statement = f"{variant} gains more on {other} out of distribution than in distribution"
    return Part(other, statement, GainsBeyond(variant, other), LOGIC, figures=_SCORES, **about)


def _curve(variant: str, metric: str, word: Word, statement: str, name: str = "", **about) -> Part:
    return Part(name or _WORDS[metric], statement, Curve(variant, metric, word), **about)


def _explodes(method: str) -> tuple[Part, ...]:
    return (
        _curve(method, ENTROPY, EXPLODES, f"the entropy of {method} explodes"),
        _curve(method, LENGTH, GROWS, f"the responses of {method} grow longer"),
        _curve(method, REWARD, FALLS, f"the training reward of {method} falls"),
        _curve(method, VALIDATION, FALLS, f"the validation accuracy of {method} falls"),
    )


def _shrinks(method: str, families: tuple[str, ...], **about) -> Part:
    return _curve(method, LENGTH, SHRINKS, f"the responses of {method} shrink", families=families, **about)


def _source(method: str) -> Part:
    solution, own, _ = HINT_SETTINGS[method]
    statement = f"for one-sided {method} the source of hints, solution or own rollout, makes little difference"
    return Part("source", statement, Gap(own, solution, -LITTLE, LITTLE), figures=_SCORES)


def _contrast(method: str) -> Part:
    *one_sided, contrastive = HINT_SETTINGS[method]
    statement = f"contrast gains on the better of one-sided {method}'s two settings"
    return Part("contrast", statement, Highest(contrastive, tuple(one_sided)), figures=_SCORES)


def _plugged(one_sided: str, contrastive: str) -> Part:
    statement = f"{contrastive} scores higher than one-sided {one_sided}"
    return Part("contrast", statement, Gap(contrastive, one_sided, 0), planned=True, figures=_SCORES)


def _on_style(variant: str) -> tuple[Part, ...]:
    return tuple(
        Part(name, statement, Style(variant, *signals, **bounds), planned=True, figures=("tokens",))
        for name, statement, signals, bounds in (
            ("style", "the one-sided signal sits on style tokens", (_ONE_SIDED,), {"above": 1}),
            ("contrast", "the contrastive signal sits on style tokens less", (_CONTRAST, _ONE_SIDED), {"below": 1}),
        )
    )


def _ablated(whole: str) -> list[Part]:
    return [
        Part(
            name, f"{whole} {what} scores lower", Gap(f"{whole}-{name}", whole, below=0), planned=True, figures=_SCORES
        )
        for name, what in _ABLATIONS.items()
    ]


_OPSD_EXPLODES = Curve("opsd", ENTROPY, EXPLODES)
_RLSD_SHRINKS = Curve("rlsd", LENGTH, SHRINKS)
_ABLATIONS = {
    "one_wrong_hint": "with one wrong hint",
    "self_hint": "with a rollout as its own hint",
    "no_anchor": "without the anchor",
    "single_path": "with a single path",
}
_ONE_SIDED, _CONTRAST = "one_sided_abs_mean", "contrast_abs_mean"

# fmt: off
CLAIMS: tuple[Claim, ...] = (
    _claim("C1", "rlcsd has the highest average", [_highest("rlcsd")],
           v1="in all 8 blocks, ahead of the next by 0.1 to 1.1 on maths, 1.9 to 6.6 on logic (at 5e-6 there)"),
    _claim("C1-lr", "rlcsd has the highest average on logic, with the rate that the paper gave it alone",
           [_highest(FAST, families=LOGIC, planned=True)], v1="in all 4 blocks of logic, ahead by 1.9 to 6.6"),
    _claim("C1-v2", "rlcsd, as in version 2, has the highest average", [_highest(SECOND, RIVALS_V2, planned=True)],
           v2="in all 8 blocks, all methods at 1e-6; ahead of the next by 0.1 to 1.4 on maths, 0.6 to 7.4 on logic"),
    _claim("C2", "rlcsd is better than the base model and than grpo",
           [_higher("rlcsd", "base"), _higher("rlcsd", "grpo", families=LOGIC),
            Part("grpo", "rlcsd scores no lower than grpo", Gap("rlcsd", "grpo", -MARGIN), MATHS, figures=_SCORES)],
           v1="over base +1.8 to +4.3 on maths, +6.8 to +14.4 on logic; over grpo +0.1 to +1.1, +3.8 to +8.0"),
    _claim("C2-lr", "rlcsd is better on logic with the rate that the paper gave it alone",
           [_higher(FAST, other, families=LOGIC, planned=True) for other in ("base", "grpo", "grpo-lr5e6")],
           v1="over base +6.8 to +14.4, over grpo at 1e-6 +3.8 to +8.0; grpo at 5e-6 was not shown"),
    _claim("C2-v2", "rlcsd, as in version 2, is better than the base model and than grpo",
           [_higher(SECOND, "base", planned=True), _higher(SECOND, "grpo-v2", families=LOGIC, planned=True),
            Part("no lower", f"{SECOND} scores no lower than grpo-v2", Gap(SECOND, "grpo-v2", -MARGIN), MATHS,
                 planned=True, figures=_SCORES)],
           v2="over base +4.6 / +12.9 (1.7B, maths / logic), +2.9 / +8.1 (4B), +2.5 / +9.7 (8B), +1.8 / +9.9 (Olmo)"),
    _claim("C3", "Gains are larger out of distribution", [_beyond("rlcsd", other) for other in ("base", "grpo")],
           v1="Knights and Knaves of 9 to 11 people against 4 to 8"),
    _claim("C3-lr", "Gains are larger out of distribution, with the paper's rate on logic",
           [_beyond(FAST, other, planned=True) for other in ("base", "grpo")], v1="as C3"),
    _claim("C3-v2", "Gains are larger out of distribution, as in version 2", [_beyond(SECOND, "base", planned=True)],
           v2="+9 to +18 over base out of distribution"),
    _claim("C4", "opsd, sdpo and srpo: entropy explodes, responses grow longer, reward and accuracy fall",
           [part for method in ("opsd", "sdpo", "srpo") for part in _explodes(method)],
           v1="4B: entropy 0.29 to 1.0-1.5 on logic, past 0.6 by step 100 (sdpo) and 140 (srpo) on maths; "
              "length 8.5k to 10.7k (sdpo, maths), 7k to 15.7k (opsd, logic)"),
    _claim("C4-v2", "opsd, sdpo and srpo shrink too early; opsd and sdpo gain entropy and lose reward or accuracy",
           [*(_shrinks(method, MATHS) for method in ("opsd", "sdpo")), _shrinks("sdpo", LOGIC),
            *(_shrinks(method, MATHS, planned=True) for method in ("srpo", "srpo-v2")),
            *(_curve(method, ENTROPY, GROWS, f"the entropy of {method} grows") for method in ("opsd", "sdpo")),
            *(_curve(method, REWARD, FALLS, f"the training reward of {method} falls", families=families)
              for method, families in (("opsd", ()), ("sdpo", MATHS))),
            *(_curve(method, VALIDATION, FALLS, f"the validation accuracy of {method} falls", families=LOGIC)
              for method in ("opsd", "sdpo"))],
           v2="curves of 8B, without numbers in the text"),
    _claim("C5", "rlsd: responses shrink", [_shrinks(method, MATHS, planned=True) for method in ("rlsd", "rlsd-v2")],
           v1="8.8k to 7.2k by step 480 (4B)", v2="shrinks on maths (8B)"),
    _claim("C6", "rlcsd keeps entropy and length stable",
           [_curve("rlcsd", ENTROPY, STABLE, "the entropy of rlcsd is stable", families=MATHS),
            _curve("rlcsd", LENGTH, STABLE, "the responses of rlcsd keep their length", families=MATHS)],
           v1="entropy 0.35 to 0.33, length about 8.3k throughout (4B, maths)"),
    _claim("C6-v2", "rlcsd, as in version 2: entropy on par with grpo; length kept on maths, growing on logic",
           [Part("entropy", f"the entropy of {SECOND} is on par with grpo's",
                 Against(SECOND, "grpo-v2", ENTROPY, "end", 1 / BOUNDED, BOUNDED), planned=True),
            _curve(SECOND, LENGTH, STABLE, f"the responses of {SECOND} keep their length", families=MATHS,
                   planned=True),
            _curve(SECOND, LENGTH, LENGTHENS, f"the responses of {SECOND} grow longer", families=LOGIC, planned=True)],
           v2="8B, maths: length 9.4k, 9.3k, 9.6k; entropy 0.32, 0.20, 0.18, as grpo's"),
    _claim("C7", "Contrast keeps the entropy of opsd bounded",
           [_curve("opsd_ectr", ENTROPY, IS_BOUNDED, "contrast keeps the entropy of opsd bounded", "bounded",
                   families=LOGIC, premise=_OPSD_EXPLODES, figures=_CURVES),
            Part("contrast", "with contrast the entropy of opsd rises less",
                 Against("opsd_ectr", "opsd", ENTROPY, "highest", below=1), LOGIC, _OPSD_EXPLODES, figures=_CURVES)],
           v1="0.29 to 0.38 at step 150, where opsd is at 1.2 (4B, logic)"),
    _claim("C8", "Contrast removes the shrinkage of rlsd",
           [Part("kept", "with contrast rlsd does not shrink", Curve("rlsd_ectr", LENGTH, KEPT), MATHS,
                 _RLSD_SHRINKS, figures=_CURVES),
            Part("contrast", "with contrast the responses of rlsd shrink less",
                 Against("rlsd_ectr", "rlsd", LENGTH, "end", above=1), MATHS, _RLSD_SHRINKS, figures=_CURVES)],
           v1="8.0k where rlsd has 7.2k (4B, maths)"),
    _claim("C9", "Without contrast the responses of rlcsd shrink",
           [_curve(variant, LENGTH, SHRINKS, f"{variant} shrinks", families=MATHS, figures=_CURVES)
            for variant in HINT_SETTINGS["rlcsd"][:2]],
           v1="to 5.9k by step 430 (4B, maths); which hint it read is not said"),
    _claim("C10", "Contrast matters, the source of a one-sided hint little",
           [*map(_source, HINT_SETTINGS), *map(_contrast, HINT_SETTINGS)],
           v1="4B, maths / logic: contrast +0.2 / +2.3 (opsd), +2.2 / +1.0 (rlsd), +3.0 / +5.4 (rlcsd)"),
    _claim("C10-v2", "Contrast matters, hints being the dataset's solution",
           [_plugged(*variants) for variants in SECOND_VERSION.values()],
           v2="4B, maths / logic: +1.0 / +0.9 (opsd), +1.4 / +0.1 (rlsd), +3.6 / +6.7 (rlcsd)"),
    _claim("C11", "The one-sided signal sits on style tokens, the contrastive one less so",
           [part for variant in ("rlcsd", SECOND) for part in _on_style(variant)],
           v1="0.263 on style, 0.083 on task tokens (one-sided)", v2="0.263 and 0.083; the gap is much reduced"),
    _claim("C12", "Each part of rlcsd helps", _ablated("rlcsd"),
           v1="4B, maths / logic, what is lost: 1.2 / 2.5, 1.2 / 3.2, 2.3 / 4.5, 1.6 / 3.5"),
    _claim("C12-v2", "Each part of rlcsd helps, as in version 2", _ablated(SECOND),
           v2="4B, maths / logic, what is lost: 1.6 / 3.8, 1.6 / 4.5, 2.7 / 5.8, 2.0 / 4.8"),
)
# fmt: on
