r"""Grades Knights and Knaves: reads who is what from an answer such as ``\text{Ann} = \text{knight}, Ben: knave``.

Markup is taken off; each word and sign that is left is coded as one letter; and claims are patterns of those letters.
A role that belongs to no claim, and words such as "or" and "if", make an answer commit to nothing.
"""

import functools
import re
import unicodedata
from collections.abc import Iterable

KNIGHT, KNAVE = "knight", "knave"
#: Longer answers name nobody: a dozen people with all their markup take a tenth of it.
MAX_CHARACTERS = 10_000

_ROLES = {"knight": KNIGHT, "knights": KNIGHT, "knave": KNAVE, "knaves": KNAVE}
#: Code of a word or sign; any other word is a name (N), any other sign is x.
_CODES = {
    "R": "knight knave",
    "S": "knights knaves",
    "a": "a an",
    # Fillers, which may stand between the words of a claim:
    "e": "all both each",  # fillers too, and by themselves everybody
    "f": "the must also indeed therefore thus hence so clearly definitely certainly really truly "
    "actually surely necessarily only",
    "i": "is was",
    "b": "be being",
    "r": "are were",
    "n": "not never",
    "m": "isn't wasn't",
    "M": "aren't weren't",
    "u": "!= \u2260",
    "=": "= equals \u2208",
    "c": "& | -",  # cells of a table, dashes
    "A": "and",
    "o": "none nobody emptyset varnothing \u2205",
    "k": "one two three four five six seven eight nine ten eleven twelve",
    # Words before and after a claim that are no names:
    "x": "then finally but answer answers final solution solutions conclusion result roles that here we have get in",
    # Who writes one of these commits to nothing, or takes back what was said:
    "y": "may",  # with "be"
    "h": "or either nor neither xor if iff unless whether when whenever implies imply opposite contrary reverse vice "
    "alternatively probability % maybe perhaps might could can cannot can't possibly probably "
    "likely false untrue incorrect wrong impossible doubt no suppose assume assuming say says said claim claims "
    "claimed think thinks cancel bcancel xcancel sout phantom lor vee oplus neg lnot otherwise unknown except instead "
    "? \u00ac \u2228 \u2295 "
    "falsehood falsehoods untruth untruths untrue fiction fictional fake joke joking kidding bluff nonsense bogus "
    "fabricated misleading erroneous inaccurate mistaken mistake mistakes invalid refuted disproved retracted inverted "
    "reversed swapped negated",
    **{sign: sign for sign in "(),;.\n"},
    "d": "0",  # numbers
}
_CODE = {word: code for code, words in _CODES.items() for word in words.split(" ")}

_PEOPLE = r"N(?:(?:,\n?A?|A|c)[fe]{0,3}N){0,30}"
_PEOPLE_BELOW = r"[(\ncd]{0,3}N(?:[,;A\ncd]{1,4}[fe]{0,3}N){0,30}(?![)\n]{0,2}(?:[i=rmMub(a]|cR(?!=)))"
_LINK = r"[()]{0,2}[fe]{0,3}(?:\n?c?[i=rmMub]{1,2}c?\n?|\n?c(?![RS]=))"
_BEFORE_ROLE = r"[fea]{0,3}n?[fea]{0,3}\n?"
_CLAIM = re.compile(
    rf"{_PEOPLE}[fe]{{0,3}}\n?(?:[rM]{_BEFORE_ROLE}[RS]|=[fea]{{0,3}}S)"  # Ann and Ben are knights
    rf"|N{_LINK}{_BEFORE_ROLE}[RS]"  # Ann is not a knave; Ann: knight; Ann & knight
    rf"|N\({_BEFORE_ROLE}[RS]"  # Ann (knight)
    rf"|\(N,{_BEFORE_ROLE}[RS](?=\))"  # (Ann, knight)
    r"|N,a[RS](?=[;.]|$)"  # Ann, a knight; Ben, a knave
    r"|Na[RS]"  # Ann is a knight and Ben a knave
    rf"|[RS][=ir](?:{_PEOPLE_BELOW}|o)"  # Knights: Ann, Ben; the knave is Zoey; knaves: none
    rf"|(?P<everybody>[eo][fek]{{0,3}}(?:[=irbmM]{{1,2}}{_BEFORE_ROLE}[RS](?![=ir])"  # all are knaves
    r"|n?[RS](?=[.,;)\n]|$)))"
    rf"|(?P<denied>[nmM][ifea]{{0,3}}[RS])"  # (Ann is a knight,) not a knave
    rf"|(?P<counted>[kd][fe]{{0,2}}(?:[RS]|[irb]{{1,2}}[fea]{{0,3}}[RS](?![=ir])))"  # one knight and two knaves
    r"|(?P<heading>SAS)"  # knights and knaves: ...
    r"|(?P<alone>[RSnmMu])"
)

_FONTS = (
    r"text(?:bf|it|rm|sf|tt|sc|normal)?|math(?:rm|bf|it|sf|tt|normal)|emph|operatorname|[mhf]box|boxed|underline|"
    r"boldsymbol|bm|bf|it|rm|sf|tt|bfseries|itshape"
)
_MARKUP = re.compile(
    r"\\++(?P<colour>(?:text)?color(?:box)?\{[a-zA-Z\d!]{1,20}\})"
    r"|\\++(?P<array>begin\{(?:array|tabular)\}\s{0,9}\{[^{}]{0,80}\}|(?:begin|end)\{[a-zA-Z]{1,20}\*?\})"
    rf"|(?P<font>\\++(?:{_FONTS})(?![a-zA-Z])(?P<braced>\s{{0,9}}\{{)?)"
    r"|(?P<slashes>\\++)(?:(?P<command>[a-zA-Z]++)|\[[\d.]{1,6}[a-z]{2}\]|(?P<sign>[^\w\s]))?"
    r"|(?P<tag></?(?P<element>[a-zA-Z]{1,10})\s?/?>)"
    r"|(?P<unseen>(?<![^\W_])'|'(?![^\W_])|[{}*`$\"\u201c-\u201f\u00ab\u00bb\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff])"
)
#: Commands that stand for a sign or a word; one that is a role or a hedge stands for itself, any other for a space.
_COMMANDS = {
    command: sign
    for sign, commands in {
        "=": "in to rightarrow Rightarrow longrightarrow Longrightarrow mapsto longmapsto implies leadsto "
        "leftrightarrow Leftrightarrow iff equiv coloneqq colon",
        "!=": "ne neq",
        "and": "land wedge",
        "|": "mid vert",
        "\n": "cr newline tabularnewline hline par item",
    }.items()
    for command in commands.split(" ")
}
#: \not= and \not\in, which TeX strikes through.
_STRUCK_THROUGH = re.compile(
    r"(?<!\\)\\++not\s{0,9}(?:=|\\++(?:in|equiv|to|rightarrow|Rightarrow|implies)(?![a-zA-Z]))"
)
_WORD = re.compile(
    r"(?P<arrow>[-=~]{1,4}>|[\u2190-\u21ff\u27f0-\u27ff]|:=|[=:]{1,2})"
    r"|(?P<dash>[-\u2010-\u2015\u2212&|]++)"
    r"|!=|!(?=\w)|\n"
    r"|(?P<name>[^\W\d_][\w'-]*+)"
    r"|(?P<number>\d++[.)]?)"
    r"|(?P<bracket>[\[\]])"
    r"|[^\s_]"
)
_PARTS = re.compile(r"[-_]++")
_NAMED_LIKE_A_WORD = re.compile(r"a(?!\n?R(?!=)|[Nfexky])|y(?!b)")  # people called A, An and May
_NEGATION = re.compile("[nmMu]")
_HEDGE = re.compile("[hy]")
_ROLE = re.compile("[RS]")
_COUNTS = {word: count for count, word in enumerate(_CODES["k"].split(" "), 1)}
#: In the words of an answer: it is called a lie, whoever stands in the same clause; a clause with a lie in it, which
#: calls the answer one unless it speaks of somebody ("Ben is lying", "knaves lie").
_CALLED_A_LIE = re.compile(
    r"\b(?:(?:it|this|that|following|above|knights?|knaves?) (?:is|are|was|were) (?:\w+ ){0,2}?lies?|lies? that)\b"
)
_LIE = re.compile(r"\b(?:lies?|lied|lying)\b(?<!\ball lie)(?<!\bthree lie)")
_CLAUSE_END = re.compile(r" ?[.,;=\n()-] ?")
_SOMEBODY = {"he", "she", "they", "him", "her", "his", "their", "them", "who", "one", "two", "someone", "somebody"}
_SOMEBODY |= {"other", "others", "both", "each", "liar", "liars", *_ROLES}


def grade(answer: str, reference: str, *, first_role_counts: bool = False) -> bool:
    """Returns whether an answer names exactly the reference's people with exactly its roles, in any order.

    Args:
        answer: content of the last box of a response.
        reference: the ground truth, read in the same way.
        first_role_counts: see `parse_roles`.
    """
    expected = _expected(reference)
    return bool(expected) and parse_roles(answer, first_role_counts=first_role_counts) == expected


def readable(reference: str) -> bool:
    """Returns whether a reference names people with one role each; no answer equals any other."""
    return bool(_expected(reference))


@functools.lru_cache(maxsize=4096)
def _expected(reference: str) -> dict[str, str] | None:
    """The roles of a reference: read once for all its answers, and not to be changed."""
    return parse_roles(reference)


def parse_roles(text: str, *, first_role_counts: bool = False) -> dict[str, str] | None:
    """Roles claimed in an answer such as "Ava is a knight, Ben = knave, Cleo: knight", names in lower case.

    LaTeX, Markdown and line breaks round words do not matter, nor in which of its forms Unicode has a letter. "is not a
    knave" claims a knight; people may share a role ("Ann and Ben are knights", "Knights: Ann, Ben").

    Args:
        text: the answer.
        first_role_counts: the first role claimed of a name counts, and nothing else is read (preset as_published: the
            released grader does so, and a policy can exploit it by naming both: docs/departures.md D36).

    Returns:
        None where the answer commits to nothing, unless `first_role_counts`: it claims both roles of somebody, in one
        phrase or in two, has a role that belongs to nobody, or hedges ("or", "if", "it is false that").
    """
    words = _words(text)
    code = _NAMED_LIKE_A_WORD.sub("N", "".join(map(_letter, words)))
    commits = not _HEDGE.search(code)
    roles: dict[str, str] = {}
    told: str | None = None  # the role of the last claim
    beside: list[str] = []  # words next to a role that belongs to no claim
    of_all: list[str] = []  # roles that are claimed of everybody
    counts: list[tuple[int, str]] = []  # how many are said to have a role
    for found in _CLAIM.finditer(code):
        at = _ROLE.search(found[0])
        role = _ROLES[words[found.start() + at.start()]] if at else None
        people = [words[found.start() + i] for i, letter in enumerate(found[0]) if letter == "N"]
        negations = len(_NEGATION.findall(found[0])) + found[0].startswith("o")
        if found["denied"]:  # says nothing new
            commits &= role != told is not None
        elif found["everybody"]:
            of_all.append(_opposite(role) if negations else role)
            commits &= told is not None and negations < 2
            if words[found.start()] == "both":  # of those that were named last, where there are others
                commits &= of_all[-1] == told
                counts.append((2, of_all.pop()))
        elif found["counted"]:
            commits &= told in (None, role)
            counts.append((_COUNTS.get(words[found.start()], 0), role))
        elif found["heading"]:
            commits &= told is None
        elif found["alone"]:  # as in "Ann is a knight because knights tell the truth", but not in "Ann knight"
            commits &= role is not None and role == told
            beside += words[max(0, found.start() - 3) : found.end() + 1]
        else:
            told = _opposite(role) if negations else role
            commits &= negations < 2
            for name in people:
                commits &= roles.setdefault(name, told) == told
    commits &= roles.keys().isdisjoint(beside)
    commits &= not _disowned(words, roles)
    of_all += [role for count, role in counts if count == len(roles)]
    commits &= set(roles.values()) <= set(of_all) or not of_all
    return roles if commits or first_role_counts else None


def _disowned(words: list[str], people: Iterable[str]) -> bool:
    """Returns whether an answer is said to be a lie."""
    text, somebody = " ".join(words), _SOMEBODY.union(people)
    if _CALLED_A_LIE.search(text):
        return True
    return any(_LIE.search(clause) and somebody.isdisjoint(clause.split(" ")) for clause in _CLAUSE_END.split(text))


def _letter(word: str) -> str:
    return _CODE.get(word) or ("N" if word[0].isalpha() else "x")


def _opposite(role: str) -> str:
    return KNAVE if role == KNIGHT else KNIGHT


def _words(text: str) -> list[str]:
    """The words of an answer in lower case, and its signs, each as `_CODES` has it."""
    if len(text) > MAX_CHARACTERS:
        return []
    text = unicodedata.normalize("NFKC", text).replace("\u2018", "'").replace("\u2019", "'")
    text = _MARKUP.sub(_without_markup, _STRUCK_THROUGH.sub(" != ", text)).replace("~", " ")
    words: list[str] = []
    for found in _WORD.finditer(unicodedata.normalize("NFKC", text.casefold())):
        word = found[0]
        if found["arrow"]:
            words.append("=")
        elif found["dash"]:
            words.append("-")
        elif found["number"]:
            words.append("0")
        elif found["bracket"]:
            words.append("(" if word == "[" else ")")
        elif word == "!":
            words.append("not")
        elif found["name"] and (parts := _PARTS.split(word)) and any(part in _ROLES for part in parts):
            words += " - ".join(part for part in parts if part).split()  # knight-or-knave
        elif found["name"] and word.endswith("'s"):
            words += [word.removesuffix("'s"), "is"]
        else:
            words.append(word.strip("_'-") or "-" if found["name"] else word)
    return words


def _without_markup(found: re.Match[str]) -> str:
    if found["unseen"] or found["colour"]:
        return ""
    if found["array"]:
        return "\n"
    if found["tag"]:
        return "\n" if found["element"].lower() in ("br", "p", "li", "tr", "div") else ""
    if found["font"]:
        return "\n" if found["font"].startswith("\\\\") else "" if found["braced"] else " "
    breaks, is_command = divmod(len(found["slashes"]), 2)
    before = "\n" if breaks else ""
    if command := found["command"]:
        if not is_command:  # a word at the beginning of a row
            return before + command
        stands_for = command if _CODE.get(command) in ("R", "S", "h", "o") else _COMMANDS.get(command, "")
        return f"{before} {stands_for} "
    sign = found["sign"] or ""
    if not is_command:
        return before + sign
    return before + ("" if sign in ("!", "-") else sign if sign in ("&", "_", "|") else " ")
