"""The grader of Knights and Knaves: tables of answers with the verdict of a reader who knows the rules."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selfdistill.tasks import knights, roles
from selfdistill.tasks.roles import grade

REFERENCE = "Ann is a knight, Ben is a knave, Zoey is a knight"
#: Ways to write the reference, as a reader takes them. The first three are those that the released grader knows.
RIGHT = [
    REFERENCE,
    "ann = KNIGHT; BEN: knave\nZoey:knight",
    "Zoey is a knight, Ann is a knight, Ben is a knave.",
    "Ann is knight, Ben is the knave, Zoey must be a knight",
    "Ann is a knight, Ann is a knight, Ben is a knave, Zoey is a knight",
    r"\text{Ann is a knight, Ben is a knave, Zoey is a knight}",
    r"\text{Ann} = \text{knight}, \text{Ben} = \text{knave}, \text{Zoey} = \text{knight}",
    r"\text{Ann}: \text{knight}, \text{Ben}: \text{knave}, \text{Zoey}: \text{knight}",
    r"\text{Ann} is a knight, \textbf{Ben} is a \textit{knave}, \emph{Zoey} is a \textsf{knight}",
    r"\text{Ann is a }\text{knight, Ben is a }\mathbf{knave}\text{, Zoey is a knight}",
    r"\mathrm{Ann} = \mathrm{knight},\, \mathbf{Ben} = \mathsf{knave},\ \mathit{Zoey} = \mathtt{knight}",
    r"\textbf{A}nn is a knight, B\textit{en} is a knave, {Zoey} is a {knight}",
    r"Ann\ is\ a\ knight, Ben\ is\ a\ knave, Zoey\ is\ a\ knight",
    "Ann~is~a~knight, Ben~is~a~knave,~Zoey~is~a~knight",
    r"$\text{Ann}$ is a knight \quad Ben is a knave \qquad Zoey is a knight",
    r"\text{Ann is a knight} \\ \text{Ben is a knave}\\\text{Zoey is a knight} \\",
    r"\\text{Ann} = \\text{knight}, \\text{Ben} = \\text{knave}, \\text{Zoey} = \\text{knight}",
    r"\begin{array}{l|l} \text{Ann} & \text{knight} \\ \hline Ben & knave \\ Zoey & knight \end{array}",
    r"\begin{aligned} \text{Ann} &= \text{knight} \\[2pt] \text{Ben} &: \text{knave} \\ Zoey &\to knight \end{aligned}",
    r"\begin{cases} \text{Ann is a knight} \\ \text{Ben is a knave} \\ \text{Zoey is a knight} \end{cases}",
    r"\text{Ann} \rightarrow \text{knight}, \text{Ben} \mapsto \text{knave}, \text{Zoey} \Rightarrow \text{knight}",
    r"\{Ann: knight, Ben: knave, Zoey: knight\}",
    "**Ann** is a knight, Ben is a **knave**, *Zoey* is a __knight__",
    "`Ann` is a `knight`, _Ben_ is a _knave_, ***Zoey*** is a knight",
    "<b>Ann</b> is a knight<br>Ben is a knave<br/>Zoey is a knight",
    "* Ann: knight\n* Ben: knave\n* Zoey: knight",
    "1. Ann: knight\n2) Ben - knave\n3. Zoey \u2013 knight",
    "- Ann is a knight\n- Ben is a knave\n- Zoey is a knight",
    "| Ann | knight |\n|-----|--------|\n| Ben | knave |\n| Zoey | knight |",
    "Ann is\na knight, Ben\nis a knave, Zoey is a\nknight",
    "Ann (knight), Ben (a knave), Zoey [knight]",
    "Ann -> knight, Ben => knave, Zoey \u2192 knight",
    "(Ann, knight), (Ben, knave), (Zoey, knight)",
    '{"Ann": "knight", "Ben": "knave", "Zoey": "knight"}',
    "Ann is not a knave, Ben isn't a knight, Zoey is a knight",
    r"Ann \neq knave, Ben != knight, Zoey is a knight",
    "Ann is a knight, not a knave; Ben is a knave and is not a knight; Zoey is a knight",
    "Ann and Zoey are knights, Ben is a knave",
    "Ben is a knave, Ann, Zoey are knights",
    "Therefore, both Ann and Zoey are knights, and Ben is a knave",
    "Ann & Zoey are not knaves; Ben is a knave",
    "Ann, Zoey: knights. Ben: knave",
    "Ann is a knight and Ben a knave, and Zoey is a knight",
    "Knights: Ann, Zoey; Knaves: Ben",
    "Knights:\n- Ann\n- Zoey\n\nKnaves:\n- Ben",
    "The knights are Ann and Zoey, and the knave is Ben",
    "Knights and knaves: there are two knights and one knave. Ann is a knight, Ben is a knave, Zoey is a knight",
    "Ann is a knight because knights tell the truth, Ben is a knave, Zoey is a knight",
    "Ann is a knight / Ben is a knave / Zoey is a knight",
    "Ann's a knight, Ben's a knave, Zoey is truly a knight",
    "Ann\n- knight\nBen\n- knave\nZoey\n- knight",
    "Ann, a knight; Ben, a knave; Zoey, a knight",
    "- Knights: Ann, Zoey\n- Knave: Ben",
    r"\text{Ann}, \text{Zoey} \in \text{Knights}, \text{Ben} \in \text{Knaves}",
    r"\textcolor{red}{Ann} is a knight, Ben is a knave, Zoey is a \color{blue}{knight}",
    r"\text{Knights} = \{\text{Ann}, \text{Zoey}\}, \text{Knaves} = \{\text{Ben}\}",
    "Knights: [Ann, Zoey], Knaves: [Ben]",
    "{'Ann': 'knight', 'Ben': 'knave', \u2018Zoey\u2019: 'knight'}",
    r"\colorbox{yellow}{Ann is a knight, Ben is a knave, Zoey is a knight}",
    "Ann\u200b is a kni\u200bght, Ben is a knave, Zoey\ufeff is a knight",
    "Ann\uff1aknight\uff0cBen\uff1aknave\uff0cZoey\uff1aknight",
    "Ann is a knight, Zoey is a knight, Ben is a knave. Ben is lying, because knaves lie; his statement is a lie",
    REFERENCE + " because all knights tell the truth",
    "Ben is a knave; Ann is a knight, Zoey is a knight, both are knights",
]

#: What takes an answer back, whichever role it ends with: everybody has one role, or the answer is a lie.
TAKEN_BACK = [
    *("{}. All are knaves", "{}, all are knights", "{}. All knaves.", "{}; all three are knights", "{} (all knaves)"),
    *("{}. Nobody is a knight", "{}. None are knaves", "{}. Each is a knight", "{}. The three are knaves"),
    *("{}. Three knights", "{}. All aren't knights", "{}. All are not knights", "{}\nAll: knaves", "{} is a lie"),
    *("The following is a lie: {}", "Lies: {}", "{}. That was a lie", "{}. I lied", "{}. All lies."),
    *(
        "Here is a lie: {}",
        "The next line is a lie.\n{}",
        "It is a lie that {}",
        "The following is fiction: {}",
        "{}. Just kidding",
    ),
]

#: What makes "Ann is a ..." name both roles, or none for sure.
TWO_ROLES = [
    "knight or a knave",
    "knight or knave",
    "knave or knight",
    "knight and a knave",
    "knight and knave",
    "knight and is a knave",
    "knight/knave",
    "knight / a knave",
    "knight | knave",
    "knight - knave",
    "knight-knave",
    "knight-or-knave",
    "knight & knave",
    r"knight \& knave",
    r"knight \lor knave",
    r"\text{knight} \vee \text{knave}",
    r"\text{knight}/\text{knave}",
    r"\cancel{knight}",
    "knight knave",
    "knight, knave",
    "knight; knave",
    "knight\nknave",
    "knight (knave)",
    "knight (or knave)",
    "knight, i.e. a knave",
    "knight. Also a knave",
    "knight?",
    "knight, not a knight",
    "knave, not a knave",
    "knight and one of the knaves",
    "not a knight and not a knave",
    "neither a knight nor a knave",
    "either a knight or a knave",
    "both a knight and a knave",
    "**knight** or **knave**",
    "knight\u2228knave",
    "knight\u2044knave",
]

WRONG = [
    "",
    "Ann is a knight, Ben is a knave",
    REFERENCE + ", Tom is a knave",
    "Ann is a knight, Ben is a knight, Zoey is a knight",
    "Ann is a knave, Ben is a knight, Zoey is a knave",
    "Ann is a knight, Ben is not a knave, Zoey is a knight",
    "Ann and Ben are knights, Zoey is a knight",
    "Ann, Ben and Zoey are knights",
    "Knights: Ann, Ben, Zoey",
    "Knights: Ann; knaves: Ben, Zoey",
    "Anna is a knight, Ben is a knave, Zoey is a knight",
    "An is a knight, Ben is a knave, Zoey is a knight",
    "Ann is a knight, Ben is a knave, everyone else is a knight",
    "knight, knave, knight",
    r"\text{knight}, \text{knave}, \text{knight}",
    "| Ann | Ben | Zoey |\n| knight | knave | knight |",
    "Ann is a knight/knave, Ben is a knight/knave, Zoey is a knight/knave",
    "It is false that " + REFERENCE,
    "Not: " + REFERENCE,
    "If " + REFERENCE,
    "Either " + REFERENCE + " or not",
    "Ann says Ben is a knave, Ann is a knight, Zoey is a knight",
    "Is Ann a knight? Ben is a knave, Zoey is a knight",
    "Ann may be a knight, Ben is a knave, Zoey is a knight",
    "Ann is a knight iff Ben is a knave, Zoey is a knight",
    "When Ann is a knight, Ben is a knave, Zoey is a knight",
    "The opposite of: " + REFERENCE,
    r"Ann is a knight with 50\% probability, Ben is a knave, Zoey is a knight",
    r"Ann \not= knight, Ben \not= knave, Zoey \not\in knights",
    "Ann (knave) is a knight, Ben is a knave, Zoey is a knight",
    "Ann, a knave, is a knight, Ben is a knave, Zoey is a knight",
    "Ann is not not a knight, Ben is a knave, Zoey is a knight",
    "Knaves: Ann is a knight, Ben is a knave, Zoey is a knight",
    "Zoey is a knight, Ben is a knave, Ann knave, Ann is a knight",
    "Ann is a knight, Ben is a knave, the knave Zoey is a knight",
    "Ann is a knight. She is a knave. Ben is a knave, Zoey is a knight",
    "Ann is a knight, Ben is a knave, Zoey is a knight, Ann is a knave",
    r"Ann is a \text{knight}\text{knave}, Ben is a knave, Zoey is a knight",
    "Ann is a knightknave, Ben is a knave, Zoey is a knight",
    "Ann is a " + "knight " * 2000 + ", Ben is a knave, Zoey is a knight",
    *(form.format(REFERENCE) for form in TAKEN_BACK),
    *(form.format("Ann is a knight, Zoey is a knight, Ben is a knave") for form in TAKEN_BACK),
]


@pytest.mark.parametrize("answer", RIGHT)
def test_what_a_reader_takes_as_right_is_right_as_answer_and_as_reference(answer):
    assert grade(answer, REFERENCE)
    assert grade(REFERENCE, answer)
    assert grade(answer, REFERENCE, first_role_counts=True)


@pytest.mark.parametrize("both", TWO_ROLES)
def test_two_roles_are_wrong_in_every_spelling_and_place(both):
    for link, end in ((" is a ", ""), (" is ", ""), (": ", ""), (" = ", ""), (" (", ")"), (r"} \text{: ", "")):
        for role, first in (("knight", "Ann"), ("knave", "Ben")):
            claims = [part for part in REFERENCE.split(", ") if not part.startswith(first)]
            doubtful = f"{first}{link}{both}{end}"
            assert not grade(", ".join([doubtful, *claims]), REFERENCE), (role, link)
            assert not grade(", ".join([*claims, doubtful]), REFERENCE), (role, link)
            assert not roles.readable(", ".join([doubtful, *claims]))


@pytest.mark.parametrize("answer", WRONG)
def test_wrong_answers(answer):
    assert not grade(answer, REFERENCE)


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("Ann is a knight, Ann is a knave, Ben is a knave, Zoey is a knight", True),
        ("Ann is a knave, Ann is a knight, Ben is a knave, Zoey is a knight", False),
        ("Ann is a knight or a knave, Ben is a knave/knight, Zoey: knight-or-knave", True),
        ("Ann is a knave or a knight, Ben is a knave, Zoey is a knight", False),
        ("It is false that " + REFERENCE, True),
        (REFERENCE + ", Tom is a knave", False),
    ],
)
def test_as_published_the_first_role_after_a_name_counts_and_nothing_else_is_read(answer, right):
    assert not grade(answer, REFERENCE)
    assert grade(answer, REFERENCE, first_role_counts=True) is right


@pytest.mark.parametrize(
    "names", [("A", "B", "C"), ("An", "May", "Not-Ann"), ("Jos\u00e9", "\u674e", "O'Neil"), ("X1", "Will", "I")]
)
def test_people_may_have_names_that_are_words(names):
    for kinds in itertools.product(("knight", "knave"), repeat=3):
        claims = dict(zip(names, kinds, strict=True))
        reference = ", ".join(f"{name} is a {kind}" for name, kind in claims.items())
        assert roles.parse_roles(reference) == {name.lower(): kind for name, kind in claims.items()}
        assert grade("; ".join(rf"\text{{{name}}} = \text{{{kind}}}" for name, kind in claims.items()), reference)
        assert grade("\n".join(f"{name} ({kind})" for name, kind in claims.items()), reference)


def test_an_accent_may_be_a_character_of_its_own():
    assert grade("Jose\u0301 is a knight", "Jos\u00e9 is a knight")
    assert not grade("Jose is a knight", "Jos\u00e9 is a knight")


@pytest.mark.parametrize(
    "reference", ["", "none", "42", "Ann is a saint, Ben is a sinner", "Ann is a knight or a knave"]
)
def test_nothing_equals_a_reference_without_roles(reference):
    assert not grade(reference, reference)
    assert not grade(REFERENCE, reference)
    assert not roles.readable(reference)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 5), st.integers(0, 2**32), st.randoms(use_true_random=False))
def test_order_does_not_matter_and_every_single_change_does(people, seed, random):
    puzzle = knights.generate(np.random.default_rng(seed), people)
    parts = puzzle.answer.split(", ")
    shuffled = random.sample(parts, len(parts))
    assert grade(", ".join(shuffled), puzzle.answer)
    for i, part in enumerate(parts):
        flipped = part.replace("knight", "knave") if "knight" in part else part.replace("knave", "knight")
        assert not grade(", ".join([*parts[:i], flipped, *parts[i + 1 :]]), puzzle.answer)
        assert not grade(", ".join([*parts[:i], *parts[i + 1 :]]), puzzle.answer)


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(), max_size=40))
def test_any_text_is_graded(answer):
    assert not grade(answer, REFERENCE)


def test_a_lone_surrogate_is_no_letter_of_a_name():
    assert not grade("Ann\ud800 is a knight", "Ann is a knight\ud800 and Ben a knave")
    assert grade("\ud800 Ann is a knight", "Ann is a knight")


PIECES = [
    "a",
    "is",
    "a is ",
    " ",
    "a-",
    "a, ",
    "\\",
    "[",
    "Ann is a knight ",
    "\\begin{array}",
    "\u0315\u0300",
    "not ",
    "*",
]


@pytest.mark.parametrize("piece", PIECES)
def test_an_answer_is_read_in_linear_time_up_to_a_length(piece, growth, monkeypatch):
    assert roles.parse_roles(piece * roles.MAX_CHARACTERS + "x") == {}
    if piece != "\u0315\u0300":  # Unicode's own ordering of accents is quadratic: what the length is for
        monkeypatch.setattr(roles, "MAX_CHARACTERS", 10**9)
        assert growth(roles.parse_roles, piece) < 9
