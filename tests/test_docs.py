"""docs/departures.md and docs/methods.md say what is there: switches, presets, metrics, links, code, numbers."""

import ast
import importlib.util
import re
from pathlib import Path

import pytest
import torch
import yaml
from jsonschema import Draft202012Validator
from PIL import Image
from snakemake.utils import update_config

from selfdistill.methods.catalogue import shipped_entries
from selfdistill.objectives.batch import Batch, Student
from selfdistill.objectives.methods import METHODS, build_method, micro_batch_loss
from selfdistill.schemas import schema
from selfdistill.study.study import load_study

ROOT = Path(__file__).parents[1]
DEPARTURES = (ROOT / "docs/departures.md").read_text()
PAGE = (ROOT / "docs/methods.md").read_text()
REGISTRIES = {name: yaml.safe_load((ROOT / f"config/{name}.yaml").read_text()) for name in ("defaults", "methods")}
SETTING = re.compile(r"(?P<key>[a-z_]+(\.[a-z_<>]+)+)(: (?P<value>\S+))?")
SECTIONS = [name for name, part in schema("run")["properties"].items() if part.get("type") == "object"]


def rows(text: str) -> list[list[str]]:
    """The body rows of all tables, cell by cell."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    ruled = [i for i, line in enumerate(lines) if set(line) <= set("|-: ")]
    body = [line for i, line in enumerate(lines) if i not in ruled and i + 1 not in ruled]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in body]


def code_spans(text: str) -> list[str]:
    return re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def settings_named(text: str) -> list[tuple[str, object]]:
    """Run settings among the code spans, as (key, value); the value is ... where only the key is named."""
    found = [SETTING.fullmatch(span) for span in code_spans(text)]
    named = [(m["key"], yaml.safe_load(m["value"]) if m["value"] else ...) for m in found if m]
    return [(key, value) for key, value in named if key.split(".")[0] in SECTIONS]


def flattened(node: dict, prefix: str = "") -> set[tuple[str, object]]:
    found = set()
    for key, value in node.items():
        leaf = tuple(value) if isinstance(value, list) else value
        found |= flattened(value, f"{prefix}{key}.") if isinstance(value, dict) else {(prefix + key, leaf)}
    return found


def bare_references(code: str) -> list[str]:
    """Docstrings that send a reader elsewhere, or name what is implemented, and say nothing themselves."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = [ast.get_docstring(each) or "" for each in ast.walk(ast.parse(code)) if isinstance(each, documented)]
    return [
        each
        for each in found
        if re.fullmatch(r"(See|Implements|As|Like|Same as)( the| of)? `?[\w.]+`?", each.strip("."))
    ]


def test_no_docstring_only_points_elsewhere():
    assert bare_references('def f():\n    """See Engine."""') == ["See Engine."]
    folders = ("workflow", "examples", "benchmarks", "docs")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py") if ".snakemake" not in path.parts]
    assert {path.name: found for path in files if (found := bare_references(path.read_text()))} == {}


def test_every_fault_of_the_released_code_has_a_row():
    numbers = [int(number) for cells in rows(DEPARTURES) for number in re.findall(r"^\*\*D(\d+)\*\*", cells[0])]
    assert sorted(set(numbers)) == list(range(1, 38))
    assert numbers == sorted(numbers)


def test_tables_have_as_many_cells_in_every_row():
    for table in re.findall(r"(?:^\|.*\n)+", DEPARTURES + "\n" + PAGE, flags=re.MULTILINE):
        counts = [line.count("|") - line.count(r"\|") for line in table.splitlines()]
        assert len(set(counts)) == 1, table


@pytest.mark.parametrize("text", [DEPARTURES, PAGE], ids=["departures", "methods"])
def test_every_setting_named_exists_and_takes_the_value(text):
    named = settings_named(text)
    assert named
    parts = schema("run")["properties"]
    for key, value in named:
        section, _, rest = key.partition(".")
        if section == "objective":
            homes = [part["properties"] for part in schema("objectives")["properties"].values()]
        else:
            homes = [parts[section]["properties"]]
            assert rest in REGISTRIES["defaults"]["defaults"][section], key
        homes = [properties[rest] for properties in homes if rest in properties]
        assert homes, f"{key} is no setting"
        valid = value is ... or any(Draft202012Validator(home).is_valid(value) for home in homes)
        assert valid, f"{key} does not take {value!r}"


def test_daggers_are_what_the_preset_sets():
    marked = {
        named
        for cells in rows(DEPARTURES)
        for switch in re.findall(r"`[^`]+` †", cells[-1])
        for named in settings_named(switch)
    }
    preset = REGISTRIES["defaults"]["presets"]["as_published"]
    published = flattened(preset["all"]).union(*(flattened(part) for part in preset["implementations"].values()))
    defaults = flattened(REGISTRIES["defaults"]["defaults"])
    assert marked == published - defaults  # grpo's own denominator is the default's


def anchors(page: Path) -> set[str]:
    """What links to the headings of a page are called: small letters, hyphens for blanks, no marks."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


def test_links_lead_somewhere():
    dead, count = [], 0
    for page in [*ROOT.glob("*.md"), *ROOT.glob("[b-r]*/README.md"), *(ROOT / "docs").rglob("*.md")]:
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
            path, _, anchor = link.partition("#")
            target = page.parent / path if path else page
            count += (inside := not link.startswith("http"))
            if inside and (
                not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target))
            ):
                dead.append(f"{page.relative_to(ROOT)}: {link}")
    assert not dead
    assert count > 50


def test_every_method_is_on_the_page_with_what_it_needs():
    table = PAGE.partition("## What each needs")[2].partition("\n\nEach also")[0]
    words = {"initial": "initial", "ema": "moving average", "snapshot": "snapshot", "external": "another model"}
    found = set()
    for cells in rows(table):
        for name in cells[0].split(", "):
            entry, needs = shipped_entries()[name], METHODS[name]().needs
            forwards = {(False, False): "0", (True, False): "1", (True, True): "2" if "ectr" in name else "1 + K"}
            asked = forwards[needs.teacher, needs.wrong_hints] + " for a wrong one" * needs.wrong_only
            assert cells[3] == asked, name
            if needs.teacher:
                assert cells[1].startswith(words[entry["teacher"]["kind"]]), name
            if needs.correct_hint:
                assert cells[2].startswith({"gt_cot": "solution", "self_rollout": "siblings"}[entry["hints"]["source"]])
            chooses = needs.support is not None and needs.support.chooser == "student"
            assert ("choose ids" in cells[4]) == chooses, name
            assert cells[5].startswith("mixed groups") == needs.mixed_groups, name
            found.add(name)
    assert found == set(METHODS)


def test_variants_named_on_the_page_are_in_the_registry():
    named = {span for span in code_spans(PAGE) if re.fullmatch(r"(opsd|rlsd|rlcsd)-\w+", span)}
    assert named
    assert named <= set(REGISTRIES["methods"]["variants"])


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


def test_the_snippets_run(capsys):
    first, second, _ = blocks("python")
    space: dict = {}
    exec(first, space)
    assert space["student"].logprobs.grad[0, 1] != 0
    expected = torch.tensor([[0.7, 1.2, 0.7], [-0.7, -1.2, -0.7]])
    torch.testing.assert_close(space["targets"].advantages, expected, rtol=0, atol=1e-4)
    exec(second, space)
    assert space["logits"].grad.abs().sum() > 0
    assert re.search(r"\d\.\d{3} nats a token", capsys.readouterr().out)


def test_the_method_of_ones_own_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "agreement.py").write_text(blocks("python")[2])
    monkeypatch.syspath_prepend(tmp_path)
    config: dict = {}
    for file in ("defaults", "models", "methods", "tasks", "demo"):
        update_config(config, yaml.safe_load((ROOT / f"config/{file}.yaml").read_text()))
    update_config(config, yaml.safe_load(next(block for block in blocks("yaml") if "agreement" in block)))
    run = load_study(config).resolve("arithmetic", "tiny_qwen3", "agreement", 0)
    method = build_method(run["implementation"], run["objective"])

    old = torch.full((2, 3), -1.0)
    batch = Batch(
        response_mask=torch.ones(2, 3, dtype=torch.bool),
        advantages=torch.tensor([1.0, -1.0]),
        old_logprobs=old,
        correct_logprobs=old + torch.tensor([[0.5, -0.5, 0.5], [-0.5, 0.5, -0.5]]),
        hinted=torch.tensor([True, True]),
    )
    student = Student(old.clone().requires_grad_())
    targets = method.targets(batch, "tokens")
    loss, _ = micro_batch_loss(method, student, batch, targets, torch.zeros(2, 3))
    loss.backward()
    assert targets.metrics["signal/chosen_share"] == 0.5
    expected = torch.tensor([[-1.0, 0.0, -1.0], [0.0, 1.0, 0.0]]) / 3
    torch.testing.assert_close(student.logprobs.grad, expected)


# --------------------------------------------------------------------------------------------------------- the picture


@pytest.fixture(scope="module")
def picture():
    spec = importlib.util.spec_from_file_location("draw_methods", ROOT / "docs/figures/draw_methods.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_picture_is_drawn(picture, tmp_path):
    picture.draw(tmp_path)
    for name in ("methods", "tokens"):
        committed = ROOT / f"docs/figures/{name}.png"
        with Image.open(tmp_path / f"{name}.png") as drawn, Image.open(committed) as shown:
            assert drawn.size == shown.size
        assert "rlsd_ectr" in (tmp_path / f"{name}.svg").read_text()


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_curves_by_hand(picture, sign):
    evidence = torch.tensor([-1.0, 0.0, 0.1, 1.0])
    expected = {
        "grpo": [1.0, 1.0, 1.0, 1.0],
        "rlsd": [0.9, 1, 0.5 + 0.5 * 1.1051709, 1.1],
        "rlcsd": [0.5, 1, 1 + 0.5 * 0.99990920, 1.5],
        "rlsd_add": [0, 0.5, 0.55, 1],
    }
    for name, values in expected.items():
        # Evidence for a token is to A = -1 what evidence against it is to A = +1, with the sign turned.
        curve = sign * picture.advantage_curve(name, sign * evidence, sign)
        torch.testing.assert_close(curve, torch.tensor(values), rtol=0, atol=2e-6)
