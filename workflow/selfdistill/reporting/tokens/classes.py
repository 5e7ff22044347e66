r"""Which tokens are style and which are the task, after the RLCSD paper's style analysis (arXiv 2606.11709, appendix).

The paper says: task tokens are digits, operators and mathematical symbols; style tokens are discourse words (Wait,
Therefore, ...) and line breaks. Its lists are not published; these are ours. What is neither is "other": names, plain
words, single letters, brackets and other punctuation, marks of markdown, control tokens.

A token is classed by its text alone, which cannot tell a mark from an operator of the same look. Decided by what the
responses of these models mostly hold: a lone `-` is the operator, though it begins items of lists too; a lone `*` or
`_` is markup (a product is written \times or \cdot; a subscript joins, as braces do), and so is a run of two or more of
`*`, `_` and `-` (bold type, rules).
"""

import functools
import hashlib
import re
import unicodedata

#: In the order of precedence.
CLASSES = ("style", "task", "other")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: Whole tokens, without their case, surrounding space and punctuation.
DISCOURSE_WORDS = _words(
    """
    wait therefore thus hence so then because since however but although though instead alternatively perhaps maybe
    probably okay ok alright well now first firstly second secondly third next finally lastly also again moreover
    furthermore actually indeed clearly obviously certainly surely basically essentially hmm hm ah oh let lets let's
    suppose assume consider recall note notice remember think check verify double-check confirm look see try start
    step similarly likewise meanwhile anyway overall conclusion summary given consequently accordingly
    """
)
#: Operators that Unicode does not count among its mathematical symbols, and what sets mathematics apart in LaTeX.
OPERATORS = frozenset("-*/%^\\$\N{MIDDLE DOT}\N{PRIME}\N{DEGREE SIGN}")
#: Commands of LaTeX that a vocabulary may have without their backslash, and that are no English words.
COMMANDS = _words(
    """
    frac dfrac tfrac sqrt cdot cdots ldots boxed binom infty leq geq neq approx equiv pmod mathbb mathrm mathbf mathcal
    alpha beta gamma delta theta lambda sigma omega pi phi sin cos tan log ln lim gcd lcm quad qquad
    """
)
_MARKUP = re.compile(r"[*_]|[*_-]{2,}")
_COMMAND = re.compile(r"\\[A-Za-z]+[{}\[\]()]*")
_AROUND = " \t\r\n.,:;!?'\"*_#()-\N{HORIZONTAL ELLIPSIS}\N{EM DASH}\N{EN DASH}\u2018\u2019\u201c\u201d"


def lists_digest() -> str:
    """Of the lists above: what was classed by others is to be classed again."""
    told = [sorted(DISCOURSE_WORDS), sorted(OPERATORS), sorted(COMMANDS), _MARKUP.pattern, _COMMAND.pattern, _AROUND]
    return hashlib.sha256(repr(told).encode()).hexdigest()


@functools.cache  # a vocabulary has a hundred thousand, a study's records hundreds of millions of them
def token_class(text: str) -> str:
    """One of CLASSES, from a token's text."""
    core = text.strip()
    if "\n" in text and not any(character.isalnum() for character in core):
        return "style"
    if text.strip(_AROUND).lower() in DISCOURSE_WORDS:
        return "style"
    if _MARKUP.fullmatch(core):
        return "other"
    if any(character.isdigit() for character in core) or core in COMMANDS or _COMMAND.fullmatch(core):
        return "task"
    if core and all(character in OPERATORS or unicodedata.category(character) == "Sm" for character in core):
        return "task"
    return "other"
