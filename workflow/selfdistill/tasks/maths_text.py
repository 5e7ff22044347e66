r"""Reads what the text of a mathematical answer says by itself (numbers, lists, words), before math-verify does.

Takes texts of any length, in linear time: no pattern can look at a stretch of characters again and again.
"""

import re
import unicodedata
from decimal import Decimal

_FONT = r"\\(?:text(?:bf|it|rm|sf|tt|normal)?|math(?:rm|bf|it|sf|tt)|mbox|boldsymbol|bm|emph)"
_SIGN = r"[+-]?"
_NUMBER = r"(?:\d++(?:\.\d*+)?|\.\d++)"
_COMMA = r"(?:,\\!|,|\{,\}|\\,)"
_POWER = rf"10\s*+\^\s*+(?:\{{\s*+({_SIGN}\d{{1,4}})\s*+\}}|({_SIGN}\d{{1,4}}))"

#: Signs of Unicode as LaTeX has them; math-verify knows others, such as those of Greek letters.
_SIGNS = {chr(0xFF01 + i): chr(0x21 + i) for i in range(94)}  # full-width letters, digits and signs
_SIGNS |= dict.fromkeys("\N{DOT OPERATOR}\N{MIDDLE DOT}\N{BULLET}", r"\cdot ")
_SIGNS |= {"\N{UNION}": r"\cup ", "\N{INTERSECTION}": r"\cap ", "\N{ELEMENT OF}": r"\in ", "\N{INFINITY}": r"\infty "}
_SIGNS |= {"\N{MINUS SIGN}": "-", "\N{FRACTION SLASH}": "/", "\N{MASCULINE ORDINAL INDICATOR}": "\N{DEGREE SIGN}"}
_TO_LATEX = str.maketrans(_SIGNS)
_RAISED, _LOWERED = "[\xb2\xb3\xb9\u2070\u2074-\u207e]++", "[\u2080-\u208e]++"
_SMALL = re.compile(
    rf"(?P<fraction>[\xbc-\xbe\u2150-\u215e\u2189]|{_RAISED}\u2044{_LOWERED})|(?P<raised>{_RAISED})|(?P<lowered>{_LOWERED})"
)
_ROOT = re.compile("[\u221a-\u221c]")
_DEGREE = {"\u221a": "", "\u221b": "[3]", "\u221c": "[4]"}
_RADICAND = re.compile(
    r"[+-]?(?:[0-9]++(?:\.[0-9]++)?|\\[dt]?frac\{[^{}]{0,99}+\}\{[^{}]{0,99}+\}|\\[a-zA-Z]++|[^\W\d_])"
)
_MOST_ROOTS, _LONGEST_RADICAND = 50, 200
_COLOUR = re.compile(
    r"\\(?:text)?color(?![a-zA-Z])\s*+(?:\[[^\[\]{}]{0,40}+\]\s*+)?\{[^{}]{0,40}+\}"
    r"|\\f?colorbox(?![a-zA-Z])(?:\s*+\{[^{}]{0,40}+\}){1,2}(?=\s*+\{)"
)
_CURRENCY = r"(?:[\xa3\xa5\u20a0-\u20c0]|\\(?:euro|EUR|pounds|yen|text(?:euro|sterling|yen))(?![a-zA-Z])(?:\{\})?)"
_CURRENCY = rf"(?:{_CURRENCY}|{_FONT}\s*+\{{\s*+{_CURRENCY}\s*+\}})"
_PRICED = re.compile(rf"(?P<sign>^[+-]?\s*+){_CURRENCY}\s*+(?=\S)|(?<=\S)\s?{_CURRENCY}$")
_UNSEEN = re.compile("[\u00ad\u200b-\u200d\u2060\ufeff]")
_SPACE = re.compile(r"(?<!\\)\\[ ;:]|(?<!\\)~|\\q?quad(?![a-zA-Z])")
_TAG = re.compile(r"\\tag\*?\{[^{}]{0,40}\}$")
_ENDS = ("\\,", "\\!", "\\", "**", "__", "`")
_STARTS = ("\\,", "\\!", "**", "__", "`")
_PAIRS = (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"))
_WRAPPING = re.compile(r"\\?\$|\\left(?![a-zA-Z])|\\right(?![a-zA-Z])|\\[()\[\]]")
_TEXT = re.compile(rf"{_FONT}\s*+\{{([^{{}}]*+)\}}")
_DEGREES = re.compile(r"(?:\^(?:\\circ|\{\\circ\})|\\degree|°)$")
_AFTER_SIGN = re.compile(r"(?<=[+-])\s++")
_DECIMAL = re.compile(_SIGN + _NUMBER, re.ASCII)
_GROUPED = re.compile(rf"{_SIGN}[1-9]\d{{0,2}}(?:{_COMMA}\d{{3}})++(?:\.\d*+)?", re.ASCII)
_THOUSANDS = re.compile(_COMMA)
_SCIENTIFIC = re.compile(
    rf"({_SIGN}{_NUMBER})\s*+(?:\\times|\\cdot|\xd7|\*)\s*+{_POWER}|({_SIGN}){_POWER}|({_SIGN}{_NUMBER})[eE]({_SIGN}\d{{1,4}})",
    re.ASCII,
)
_SET = re.compile(r"(?:\\left)?\\\{(.*)\\\}", re.DOTALL)
_LISTED = re.compile(r"(?<!\\)[,;]\s++|;")
_MIXED = re.compile(rf"({_SIGN}\d{{1,9}})\s++(\d{{1,9}})/(\d{{1,9}})", re.ASCII)
_INSIDE_TEXT = re.compile(r"(?<![\d.,])[1-9]\d{0,2}(?:,\d{3})+(?![\d,])", re.ASCII)
_DIGITS_APART = re.compile(r"\d(?:\s|\\,)++\d", re.ASCII)
_NO_FORMULA = re.compile(r"[\d\s.,+\\-]*+", re.ASCII)
_GAP = re.compile(r"(?<!\d) | (?!\d)", re.ASCII)
_BASED = re.compile(r"([0-9A-Z]{1,200})_(?:\{(\d{1,2})\}|(\d))", re.ASCII)
#: math-verify takes these for units (of time, length, mass, ...) where they follow a number.
_WITH_LETTER = re.compile(rf"{_SIGN}{_NUMBER}([cdghlmstCDGHLMST])", re.ASCII)
#: Of these it takes more for units than anybody does: the letter belongs to the answer. (m, s and g may be units.)
_LETTER_OF_ANSWER = re.compile(r"(?<=[\d}])(?:\s?([cd])|([hlt]))(?=[.,;]|$)|(?<![a-zA-Z\\])([cd])$", re.ASCII)
_COMMAND = re.compile(r"\\[a-zA-Z]++")
_COMMAND_OR_TEXT = re.compile(rf"{_TEXT.pattern}|{_COMMAND.pattern}")
_WORDS = re.compile(r"[^\W\d_]{2,}+(?:[ '-][^\W\d_]++)*+")
_IS_LANGUAGE = re.compile(r"[A-Z][a-z]{2}|No\b|[^\W\d_a-zA-Z]{2}")
#: What numbers are made of; letters (but for e and i) and relations, which they are not; x = 3, which is 3 to all.
_OF_NUMBERS = re.compile(
    r"\\(?:[dtc]?frac|sqrt|pi|cdot|times|div|left|right|infty|sin|cos|tan|ln|log|exp|circ|degree|pm|binom)(?![a-zA-Z])"
)
_UNKNOWN = re.compile(r"[a-df-hj-zA-DF-HJ-Z=]|\\[a-zA-Z%]")
_NAMED = re.compile(r"\\?[a-zA-Z]++\s*+=[^=]*+")
_DIGITS = re.compile(r"\d++(?:\.\d++)?", re.ASCII)
_SPARE_LETTERS = "qwuvzkyxnprjab"


def cleaned(text: str) -> str:
    """An answer without what stands round it: white space, Markdown, dollar signs, a tag, one full stop or comma."""
    text = _SPACE.sub(" ", _without_colours(_in_latex(_UNSEEN.sub("", text))))
    text = _trimmed(_TAG.sub("", text.strip()))
    text = _trimmed(_PRICED.sub(lambda found: found["sign"] or "", text)) or text
    if text.endswith((".", ",")) and not text.endswith(("..", "\\right.", "\\left.")):
        text = _trimmed(text[:-1]) or text
    return "-" + text[1:] if text.startswith("\N{EN DASH}") else text


def _in_latex(text: str) -> str:
    """A text with signs, small digits and roots of Unicode as LaTeX: the half sign as a fraction, √2 as a root."""
    text = _SMALL.sub(_small, text).translate(_TO_LATEX)
    roots = [found.start() for found in _ROOT.finditer(text)]
    for at in reversed(roots if len(roots) <= _MOST_ROOTS else []):
        rest = text[at + 1 :].lstrip()
        if (end := _closing(rest)) is not None:
            inner, rest = rest[1:end], rest[end + 1 :]
        elif found := _RADICAND.match(rest):
            inner, rest = found[0], rest[found.end() :]
        else:
            continue
        text = rf"{text[:at]}\sqrt{_DEGREE[text[at]]}{{{inner}}}{rest}"
    return text


def _small(found: re.Match[str]) -> str:
    digits = unicodedata.normalize("NFKC", found[0]).replace("\N{MINUS SIGN}", "-")
    if found["fraction"]:
        above, below = digits.split("\N{FRACTION SLASH}")
        fraction = rf"\frac{{{above}}}{{{below}}}"
        return f"{{{fraction}}}" if found.string[: found.start()].endswith("^") else fraction
    return f"^{{{digits}}}" if found["raised"] else f"_{{{digits}}}"


def _without_colours(text: str) -> str:
    r"""A text without what colours it; of \textcolor{red}{5} the second group stays, without braces if it is all."""
    bare, count = _COLOUR.subn("", text)
    bare = bare.strip()
    while count and bare.startswith("{") and _closing(bare, len(bare)) == len(bare) - 1:
        bare = bare[1:-1].strip()
    return bare if count else text


def _closing(text: str, most: int = _LONGEST_RADICAND) -> int | None:
    """Returns where the bracket is closed that a text begins with, if it does, within that many characters."""
    depth = 0
    for at, sign in enumerate(text[:most]):
        depth += (sign in "({") - (sign in ")}")
        if not depth:
            return at if at else None
    return None


def decided(answer: str, reference: str) -> bool | None:
    """Returns whether a cleaned answer equals a cleaned reference, where their texts decide that; else None.

    Equal texts are equal. Two plain numbers are compared exactly, and so are lists of them, without order (as
    math-verify has it); words are compared as texts, without case, and numerals of stated bases digit by digit.
    """
    if plain(answer) == plain(reference):
        return True
    if any(letter not in _COMMAND.sub("", reference).lower() for letter in _own_letters(answer)):
        return False
    ours, theirs = number(answer), number(reference)
    our_list, their_list = listed(answer), listed(reference)
    if our_list or their_list:
        # "100,200" is a number, and a list where the other side shows that one is meant.
        our_list = our_list or _members(answer, ",") or (ours is not None and {ours})
        their_list = their_list or _members(reference, ",") or (theirs is not None and {theirs})
        return our_list == their_list if our_list and their_list else None
    if ours is not None and theirs is not None:
        return ours == theirs
    if _is_apart(answer) or _is_apart(reference):  # "5 7" is no number; math-verify takes it for 5 + 7
        return False
    same_words = words(answer).casefold() == words(reference).casefold() != ""
    if same_words or is_language(reference):
        return same_words
    our_base, their_base = _based(answer), _based(reference)
    if our_base and their_base:
        return our_base == their_base
    lettered = _WITH_LETTER.fullmatch(reference)
    if lettered and lettered[1].lower() not in _COMMAND.sub("", answer).lower():
        return False  # of "2d" math-verify takes the d for a unit, and off
    return None


def _own_letters(answer: str) -> set[str]:
    found = _LETTER_OF_ANSWER.finditer(answer)
    return {each[1] or each[2] or each[3] for each in found if answer[: each.start()].strip()}


def plain(text: str) -> str:
    """A text for comparison with another: without white space (but for gaps between digits), dollar signs and fonts."""
    text = _trimmed(_TEXT.sub(r"\1", text).replace("$", ""))
    return _GAP.sub("", " ".join(text.split())).removesuffix(".")


def without_fonts(text: str) -> str:
    r"""Return a text out of the commands that set it in a font, one in another too: of \textbf{\text{B}} the letter."""
    count = 1
    while count:
        text, count = _TEXT.subn(r"\1", text)
    return text


def number(text: str) -> Decimal | None:
    """Return the exact value of a plain number, or None.

    Exponents have four digits at most: 1e999999999 is no number here.
    """
    text = _WRAPPING.sub("", text).strip()
    if of_font := _TEXT.fullmatch(text):
        text = of_font[1].strip()
    text = _AFTER_SIGN.sub("", _DEGREES.sub("", text).rstrip())
    if _GROUPED.fullmatch(text):
        text = _THOUSANDS.sub("", text)
    if _DECIMAL.fullmatch(text):
        return Decimal(text)
    if found := _SCIENTIFIC.fullmatch(text):
        mantissa = found[1] or found[7] or (found[4] or "") + "1"
        return Decimal(f"{mantissa}e{found[2] or found[3] or found[5] or found[6] or found[8]}")
    return None


def listed(text: str) -> set[Decimal] | None:
    """The members of a list of plain numbers, written with spaces after the commas, semicolons, or in set braces."""
    if found := _SET.fullmatch(_WRAPPING.sub("", text).strip()):
        return _members(found[1], ",")
    return _members(text, None) if _LISTED.search(text) else None


def words(text: str) -> str:
    r"""A text that is words of a language (Yes; \text{does not exist}), with single spaces; else an empty string."""
    bare = " ".join(_TEXT.sub(r"\1", text).replace("$", "").strip("()\"'` ").removesuffix(".").split())
    if not _WORDS.fullmatch(bare) or bare.casefold() == "infinity":
        return ""
    return bare


def is_language(text: str) -> bool:
    """Tells words from products (abc): a capital and small letters (Yes), or set as text."""
    return bool(words(text)) and bool(_IS_LANGUAGE.match(words(text)) or _TEXT.fullmatch(text.strip("$ ")))


def readable_by_math_verify(text: str) -> str:
    """Return a cleaned text as math-verify reads it right: mixed numbers as LaTeX, thousands without commas."""
    if mixed := _MIXED.fullmatch(text):
        return rf"{mixed[1]}\frac{{{mixed[2]}}}{{{mixed[3]}}}"
    grouped = _INSIDE_TEXT.findall(text)
    if len(grouped) == 1 and text.count(",") == grouped[0].count(",") and not re.search(r"[(\[]|\\\{", text):
        return text.replace(",", "")
    return text


def with_cases_apart(answer: str, reference: str) -> tuple[str, str] | None:
    """Both texts with a spare letter in place of each capital that one of them has beside its small letter (R - r).

    math-verify takes the two for one symbol. None where there is no such letter.
    """
    bare = [_COMMAND_OR_TEXT.sub(" ", text) for text in (answer, reference)]
    both = sorted({c for text in bare for c in text if "A" <= c <= "Z" and c.lower() in text})
    used = set("".join(bare).lower())
    spare = [letter for letter in _SPARE_LETTERS if letter not in used]
    if not both or len(both) > len(spare):
        return None
    table = str.maketrans(dict(zip(both, spare, strict=False)))
    return tuple(_outside_commands(text, table) for text in (answer, reference))


def misreadings(text: str) -> list[str]:
    """Plain numbers that math-verify might take for a cleaned text with a unit, with letters or with an equals sign."""
    if number(text) is not None or is_language(text) or _NAMED.fullmatch(text):
        return []
    if not _UNKNOWN.search(_OF_NUMBERS.sub(" ", text)):
        return []
    return list(dict.fromkeys(["0", "1", "2", *_DIGITS.findall(text)[:4]]))


def _outside_commands(text: str, table: dict[int, str]) -> str:
    parts, position = [], 0
    for found in _COMMAND_OR_TEXT.finditer(text):
        parts += [text[position : found.start()].translate(table), found[0]]
        position = found.end()
    return "".join([*parts, text[position:].translate(table)])


def _trimmed(text: str) -> str:
    start, end, was = 0, len(text), (0, -1)
    while (start, end) != was:
        was = start, end
        while start < end and text[start].isspace():
            start += 1
        while start < end and text[end - 1].isspace():
            end -= 1
        for mark in _ENDS:
            if text.endswith(mark, start, end):
                end -= len(mark)
        for mark in _STARTS:
            if text.startswith(mark, start, end):
                start += len(mark)
    text = text[start:end]
    for opening, closing in _PAIRS:
        inner = text[len(opening) : -len(closing)]
        if text.startswith(opening) and text.endswith(closing) and opening not in inner and inner.strip():
            return _trimmed(inner)
    return text


def _members(text: str, comma: str | None) -> set[Decimal] | None:
    parts = text.split(comma) if comma else _LISTED.split(text)
    members = [number(part) for part in parts]
    return set(members) if len(members) > 1 and None not in members else None


def _is_apart(text: str) -> bool:
    return bool(_NO_FORMULA.fullmatch(text)) and bool(_DIGITS_APART.search(text))


def _based(text: str) -> tuple[str, int] | None:
    """Digits and base of a numeral such as 1010_2, or None."""
    found = _BASED.fullmatch(text)
    base = int(found[2] or found[3]) if found else 0
    if not 2 <= base <= 36 or any(int(digit, 36) >= base for digit in found[1]):
        return None
    return found[1].lstrip("0"), base
