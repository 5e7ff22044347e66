r"""Classes tokens as style or task, after the RLCSD paper's style analysis (arXiv 2606.11709, appendix).

The paper says: task tokens are digits, operators and mathematical symbols; style tokens are discourse words (Wait,
Therefore, ...) and line breaks. Its lists are not published; these are ours. What is neither is "other": names, plain
words, single letters, brackets and other punctuation, marks of markdown, control tokens. The paper's second version
publishes its rules: `published_class`, which counts punctuation and function words as style. Both are in PARTITIONS;
of tables of recorded rollouts a configuration chooses one (`token_classes`).

A token is classed by its text alone, which cannot tell a mark from an operator of the same look. Decided by what the
responses of these models mostly hold: a lone `-` is the operator, though it begins items of lists too; a lone `*` or
`_` is markup (a product is written \times or \cdot; a subscript joins, as braces do), and so is a run of two or more of
`*`, `_` and `-` (bold type, rules).
"""

import functools
import hashlib
import re
import unicodedata
from collections.abc import Callable, Mapping

#: In the order of precedence.
CLASSES = ("style", "task", "other")
#: The partition of a configuration that chooses none.
OURS = "ours"


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


#: Of the published rules (arXiv 2606.11709 v2, appendix), all in lower case.
PUBLISHED_CLASSES = ("style", "task", "neutral")
PUBLISHED_SYMBOLS = frozenset(  # the last ones: times, divided, at most, at least, not equal
    "+-=*/<>$^_\u00d7\u00f7\u2264\u2265\u2260"
)
PUBLISHED_MATHS = _words(
    """
    mod prime factor gcd lcm log ln sin cos tan exp integral sqrt boxed frac sum prod pi alpha beta gamma theta delta
    lambda mu sigma infty leq geq neq cdot times div
    """
)
PUBLISHED_DISCOURSE = _words(
    """
    therefore so thus hence then because since wait maybe perhaps seems okay ok well now first next finally actually
    alternatively however step answer let lets is are us we the a an of to for in on by at as and or but if yes no this
    that these those it its be been being have has had do does did will would should could can may
    """
)
_CONTROL = re.compile(r"<\|.*\|>|</?s>|<(?:bos|eos|pad)>")
_PUBLISHED_COMMAND = re.compile(r"\\[a-z]|\\\\")


def lists_digest(partition: str = OURS) -> str:
    """Returns a digest of a partition's lists: what was classed by other lists is classed again."""
    if partition != OURS:
        lists = [sorted(PUBLISHED_SYMBOLS), sorted(PUBLISHED_MATHS), sorted(PUBLISHED_DISCOURSE)]
        patterns = [_CONTROL.pattern, _PUBLISHED_COMMAND.pattern]
        return hashlib.sha256(repr([lists, patterns]).encode()).hexdigest()
    told = [sorted(DISCOURSE_WORDS), sorted(OPERATORS), sorted(COMMANDS), _MARKUP.pattern, _COMMAND.pattern, _AROUND]
    return hashlib.sha256(repr(told).encode()).hexdigest()


@functools.cache  # a vocabulary has a hundred thousand, a study's records hundreds of millions of them
def token_class(text: str) -> str:
    """Return one of CLASSES, from a token's text."""
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


@functools.cache
def published_class(text: str) -> str:
    """Return one of PUBLISHED_CLASSES, by the rules of the paper's second version, the first that fits.

    White space: style. A digit, an operator, a command of LaTeX, a double backslash, or one of $ ^ _ anywhere in it:
    task. A mathematical word: task. Punctuation alone, line breaks around it included: style. A discourse or function
    word: style. All else is neutral, and so are control tokens, of which the rules say nothing and whose spelling has
    operators in it.
    """
    core = text.strip().lower()
    if _CONTROL.fullmatch(core):
        return "neutral"
    if not core:
        return "style"
    symbols = any(character.isdigit() or character in PUBLISHED_SYMBOLS for character in core)
    if symbols or _PUBLISHED_COMMAND.search(core) or core in PUBLISHED_MATHS:
        return "task"
    if all(unicodedata.category(character).startswith("P") or character.isspace() for character in core):
        return "style"
    return "style" if core in PUBLISHED_DISCOURSE else "neutral"


#: Name -> class of a token's text: our lists, and the published ones.
PARTITIONS: Mapping[str, Callable[[str], str]] = {OURS: token_class, "paper": published_class}
#: Name -> its classes, in the order of a table.
NAMES: Mapping[str, tuple[str, ...]] = {OURS: CLASSES, "paper": PUBLISHED_CLASSES}
