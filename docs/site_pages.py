"""Makes the site of the documents (mkdocs.yml): pages from outside of docs/, links into the repository, MathML.

Documents link to each other, and to code and configurations, as files of the repository, so that they can be read there
too. On the site a linked document is its page, and any other linked file comes along as a page under `code/`.
"""

import ast
import html
import posixpath
import re
from pathlib import Path

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
#: Files of the repository that are pages, besides those of docs/.
PAGES = {
    "README.md": "index.md",
    "AGENTS.md": "agents.md",
    "CHANGELOG.md": "changelog.md",
    "CODE_OF_CONDUCT.md": "code_of_conduct.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "benchmarks/README.md": "benchmarks.md",
    "config/README.md": "configuration.md",
    "envs/README.md": "environments.md",
    "examples/README.md": "examples.md",
    "profiles/README.md": "profiles.md",
    "resources/base_models/README.md": "base_models.md",
    "resources/published/README.md": "published.md",
}
_LINK = re.compile(r"(\]\()([^)\s#]+)(#[^)\s]*)?(\))")
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LANGUAGES = {".py": "python", ".yaml": "yaml", ".yml": "yaml", ".smk": "python", ".toml": "toml", ".sh": "bash"}
_MATHS = re.compile(r'<(span|div) class="arithmatex">(.*?)</\1>', re.DOTALL)
_TABLE = re.compile(r"<table>.*?</table>", re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that are not in docs/: documents of other folders, then every file that some page links to."""
    for path, page in PAGES.items():
        files.append(File.generated(config, page, content=(ROOT / path).read_text(encoding="utf-8")))
    for path in sorted({path for file in files.documentation_pages() for path in _linked(file)}):
        if (page := _page_of(path)).startswith("code/"):
            files.append(File.generated(config, page, content=_as_page(ROOT / path)))
        elif files.get_file_from_path(page) is None:  # a picture
            files.append(File.generated(config, page, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns links into the repository to links into the site."""
    if page.file.src_uri.startswith("code/"):
        return markdown
    folder = posixpath.dirname(_source_of(page.file))

    def led(match: re.Match) -> str:
        path = _within(folder, match[2])
        if path is None:
            return match[0]
        target = posixpath.relpath(_page_of(path), posixpath.dirname(page.file.src_uri) or ".")
        return f"{match[1]}{target}{match[3] or ''}{match[4]}"

    return _outside_fences(markdown, lambda text: _LINK.sub(led, text))


def on_page_content(content: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Writes formulas as MathML, and gives each cell of a table the name of its column, which a phone shows."""
    content = _MATHS.sub(_maths, content)
    return _TABLE.sub(lambda table: _named_cells(table[0]), content)


def _source_of(file: File) -> str:
    """The path in the repository of what a page is made of."""
    return next((path for path, page in PAGES.items() if page == file.src_uri), f"docs/{file.src_uri}")


def _linked(file: File) -> set[str]:
    """The files of the repository that a page links to."""
    found: set[str] = set()
    folder = posixpath.dirname(_source_of(file))
    _outside_fences(file.content_string, lambda text: found.update(m[2] for m in _LINK.finditer(text)) or text)
    return {path for link in found if (path := _within(folder, link)) is not None}


def _within(folder: str, link: str) -> str | None:
    """The file or folder of the repository that a link leads to; None for addresses, and where there is none."""
    if re.match(r"[a-z]+:", link):
        return None
    path = posixpath.normpath(posixpath.join(folder, link))
    if (ROOT / path / "README.md").is_file():
        path = f"{path}/README.md"
    return path if (ROOT / path).exists() and path != "." and not path.startswith("..") else None


def _page_of(path: str) -> str:
    """The page of a file of the repository."""
    if path in PAGES:
        return PAGES[path]
    if path.startswith("docs/") and not path.endswith(".py"):
        return path.removeprefix("docs/")
    # The site leaves out what begins with a dot.
    return path if path.endswith((".png", ".svg")) else f"code/{path.lstrip('.')}.md"


def _as_page(path: Path) -> str:
    """A page that shows a file, or the first lines of the modules of a folder."""
    name = path.relative_to(ROOT).as_posix()
    if path.is_dir():
        rows = [f"| `{each.name}` | {_first_line(each)} |" for each in sorted(path.glob("*.py"))]
        content = "\n".join(["| Module | |", "|---|---|", *rows])
    else:
        content = f"````{_LANGUAGES.get(path.suffix, 'text')}\n{path.read_text(encoding='utf-8').rstrip()}\n````"
    return f"---\ntitle: {name}\nsearch: {{exclude: true}}\n---\n# `{name}`\n\n{content}\n"


def _first_line(module: Path) -> str:
    said = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8"))) or ""
    return said.partition("\n")[0].replace("|", r"\|")


def _outside_fences(text: str, change) -> str:
    """The text with what is outside of its code blocks changed."""
    parts, end = [], 0
    for fence in _FENCE.finditer(text):
        parts += [change(text[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, change(text[end:])])


def _maths(match: re.Match) -> str:
    formula = html.unescape(match[2]).strip()
    display = "block" if match[1] == "div" else "inline"
    return convert(
        formula.removeprefix(r"\(").removesuffix(r"\)").removeprefix(r"\[").removesuffix(r"\]"), display=display
    )


def _named_cells(table: str) -> str:
    names = [re.sub(r"<[^>]+>", "", name).strip() for name in re.findall(r"<th[^>]*>(.*?)</th>", table, re.DOTALL)]

    def row(match: re.Match) -> str:
        number = iter(range(len(names)))
        return re.sub(r"<td", lambda _: f'<td data-column="{html.escape(names[next(number)])}"', match[0])

    return re.sub(r"<tr>\s*<td.*?</tr>", row, table, flags=re.DOTALL)
