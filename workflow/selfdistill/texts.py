"""Makes texts of any origin fit for a line of a log, a cell of a spreadsheet or a page. Standard library only."""

import json
import os
import re
from collections.abc import Iterator
from urllib.parse import quote, unquote

#: Characters that are not seen, or turn round what stands beside them: controls (but tab and line feed), separators of
#: lines and paragraphs, marks, embeddings, overrides and isolates of direction, spaces without width, unwritten
#: operators, the byte order mark, tags, half surrogate pairs. Joiners stay: scripts and emoji are written with them.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ufffe\uffff"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_LINE_BREAKS = re.compile("(?:[\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029])+")

#: What a spreadsheet takes for a formula, also behind spaces and quotes, and in its full-width forms.
_FORMULA = re.compile("[\\s\"'\u2018\u2019\u201c\u201d]*[=+\\-@\uff1d\uff0b\uff0d\uff20]|[\t\r]")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")
_APOSTROPHE = "'"

_SECRET = "<secret>"
#: Names of variables whose whole value is a secret (PWD is a folder), and the fewest characters of one: "1" would be
#: struck everywhere.
_SECRET_NAMES = re.compile(
    r"(?:TOKEN|PASSWORD|PASSWD|PASSPHRASE|SECRET|CREDENTIALS?|API_?KEY|(?:ACCESS|SECRET|PRIVATE|AUTH)_?KEY"
    r"|_(?:PASS|PWD|PAT|KEY))$",
    re.IGNORECASE,
)
_LEAST_SECRET = 6
#: A user name without a password is as long as this where it is a token ("https://TOKEN@host").
_LEAST_TOKEN = 16
#: What is struck from any text: what stands before it and stays, and the secret itself; a row for each kind.
_SECRETS = {
    "password of an address": (r":(?:\\?/){2}", rf"(?:[^\s/?#\"'<>\\]|{_SECRET})*(?=@)"),  # struck in part already
    "header": (
        r"(?i:authorization[\"']?\s{0,9}[:=]\s{0,9}[\"']?(?:(?:basic|bearer|token|digest)\s{1,9})?+)",
        r"[^\s\"',;<]{6,}",
    ),
    "bearer": (r"(?i:\bbearer\s+)", r"[\w.~+/=-]{8,}"),
    "key and value, option": (
        r"(?i:(?:\b|_)(?:password|passwd|api[_-]?key|secret[_-]?key|access[_-]?key|hf[_-]token|auth[_-]token)"
        r"[\"']?\s{0,9}[:=]\s{0,9}[\"']?|--(?:password|token|api-key)[ =])",
        r"[^\s\"',;&<{}]{6,}",
    ),
    "token known by its form": (  # of hub, GitHub, GitLab, OpenAI, Slack, Amazon, Google; JSON web tokens
        r"\b",
        r"(?:hf_[A-Za-z0-9]{16,}|gh[oprsu]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|glpat-[\w-]{16,}"
        r"|sk-(?:[a-z]{2,8}-)*[A-Za-z0-9_]{20,}|xox[abeprs]-[\w-]{10,}|A[KS]IA[A-Z0-9]{16}\b|AIza[\w-]{30,}"
        r"|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]{8,})",
    ),
    "parameter of an address": (
        r"(?i:[?&][\w-]*(?:token|sig|signature|secret|password|pwd|auth|key|credential|policy)=)",
        r"[^&\s\"'<>]+",
    ),
}
_STRUCK = [re.compile(f"({before}){secret}") for before, secret in _SECRETS.values()]

#: Characters of one error or line of a log, at most.
LONGEST_LINE = 4_000


def visible(text: str) -> str:
    r"""Return the text with unseen characters and those that turn round others written as in JSON: `\u202e`."""
    return _UNSEEN.sub(_spelt_out, text)


def _spelt_out(found: re.Match[str]) -> str:
    return json.dumps(found[0])[1:-1] if found[0] > "\uffff" else f"\\u{ord(found[0]):04x}"


def one_line(text: str) -> str:
    """Return the text in one line: spaces for line breaks of any kind and for tabs, all else `visible`."""
    return visible(_LINE_BREAKS.sub(" ", text).replace("\t", " "))


def shortened(text: str, most: int = LONGEST_LINE) -> str:
    """The text where it has no more than `most` characters, else its beginning and its end, and how many are left out.

    Half of the end and all of the cut are no news: three quarters of what is kept are the beginning.
    """
    surplus = len(text) - most
    if surplus <= 0:
        return text
    begin = most * 3 // 4
    return f"{text[:begin]} [... {surplus} characters left out ...] {text[len(text) - (most - begin) :]}"


def reportable(text: str) -> str:
    """Return a message fit for logs and terminals: without secrets, visible, and no longer than LONGEST_LINE."""
    return shortened(visible(without_secrets(text)))


def without_secrets(text: str) -> str:
    """Return the text without passwords of URLs, bearer and hub tokens, and secrets of the environment's variables.

    Secrets of the environment are values of variables named so (HF_TOKEN, WANDB_API_KEY), and passwords of addresses in
    any variable (HF_ENDPOINT, HTTPS_PROXY, PIP_INDEX_URL); they go wherever they stand.
    """
    for secret in sorted(set(_environment_secrets()), key=len, reverse=True):  # first: an address may break it up
        text = text.replace(secret, _SECRET).replace(quote(secret, safe=""), _SECRET)
    for pattern in _STRUCK:
        text = pattern.sub(rf"\1{_SECRET}", text)
    return text


def _environment_secrets() -> Iterator[str]:
    for name, value in os.environ.items():
        if len(value) < _LEAST_SECRET:
            continue
        if _SECRET_NAMES.search(name):
            yield value.strip()
        if "@" not in value or not ("://" in value or name.lower().endswith("_proxy")):
            continue
        for address in value.split():  # PIP_EXTRA_INDEX_URL has several
            user, _, password = address.rpartition("://")[2].rpartition("@")[0].partition(":")
            secret = password or (user if len(user) >= _LEAST_TOKEN else "")
            yield from (each for each in (secret, unquote(secret)) if len(each) >= _LEAST_SECRET)


def spreadsheet_cell(text: str) -> str:
    """Return a text that no spreadsheet runs: behind an apostrophe where it reads as a formula and is no number.

    `from_spreadsheet_cell` undoes it.
    """
    return _APOSTROPHE + text if _is_formula(text) else text


def from_spreadsheet_cell(cell: str) -> str:
    """Return the text of which `spreadsheet_cell` made this cell."""
    return cell[1:] if cell.startswith(_APOSTROPHE) and _is_formula(cell[1:]) else cell


def _is_formula(text: str) -> bool:
    return _FORMULA.match(text) is not None and _NUMBER.fullmatch(text) is None
