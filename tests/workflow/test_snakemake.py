"""What Snakemake itself makes of the workflow: lint, format, config files, profiles, logs, environments, report."""

import json
import re
import shlex
import shutil
from collections import Counter
from pathlib import Path

import pytest
import yaml
from snakemake.cli import parse_args

ROOT = Path(__file__).parents[2]
PROFILES = sorted(path.parent.name for path in (ROOT / "profiles").glob("*/config.yaml"))
#: A rule with `run`, which Snakemake runs in a process of its own that reads the Snakefile again.
IN_A_CHILD = """
include: "{root}/workflow/Snakefile"


rule seen:
    output:
        "seen.json",
    run:
        import json

        with open(output[0], "w") as file:
            json.dump({{"mode": workflow.exec_mode.name, "runs": [run.folder for run in STUDY.runs()]}}, file)
"""


def test_every_job_has_a_log_of_its_own_and_all_its_scripts_exist(furnished):
    """Plans every rule; a rule without a log would show none, two jobs with one log would share it."""
    done = furnished.dry_run()
    jobs = re.findall(r"^(?:local)?rule (?!all)\w+:$", done.stdout, re.MULTILINE)
    logs = re.findall(r"^    log: (\S+)$", done.stdout, re.MULTILINE)
    assert len(logs) == len(set(logs)) == len(jobs) > 20
    rules = "".join(path.read_text() for path in (ROOT / "workflow" / "rules").glob("*.smk"))
    named = set(re.findall(r"scripts/(\w+\.py)", rules))
    assert named == {path.name for path in (ROOT / "workflow" / "scripts").glob("*.py")} - {"job.py"}


@pytest.fixture
def study(tmp_path, furnished):
    """A workshop with a rule that tells which config its child process saw."""
    workshop = furnished.copy_to(tmp_path)
    (workshop.folder / "Snakefile").write_text(IN_A_CHILD.format(root=workshop.folder))

    def seen(*words: str) -> dict:
        done = workshop.snakemake("seen", "--snakefile", "Snakefile", "--force", *words)
        assert done.returncode == 0, done.stdout
        return json.loads((workshop.folder / "seen.json").read_text())

    return workshop.folder, seen


def test_the_demo_is_run_unless_a_config_file_is_given_also_in_child_processes(study):
    folder, seen = study
    demo = seen()
    assert demo["mode"] == "SUBPROCESS"
    assert len(demo["runs"]) == 18
    (folder / "mine.yaml").write_text(
        "matrix: {tasks: [knights], models: [tiny_qwen3], variants: [mild], seeds: [4]}\n"
        "variants: {mild: {method: grpo, set: {optimizer: {learning_rate: 1e-6}}}}\n"
    )
    both = seen("--configfile", "mine.yaml", "--config", "matrix={seeds: [5, 6]}")
    runs = [f"results/runs/knights/tiny_qwen3/mild/seed{seed}" for seed in (5, 6)]
    assert both == {"mode": "SUBPROCESS", "runs": runs}


def test_nothing_of_the_demo_is_merged_into_a_given_config_file(furnished, tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text("matrix: {tasks: [knights], variants: [grpo], seeds: [0]}")
    assert "mine.yaml: matrix: key 'models' is missing" in furnished.refused("--configfile", str(mine))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file or directory"),
        (b"a: \xff", "line 1: byte 4 is no UTF-8"),
        (b"a: [", "line 1: not readable"),
    ],
)
def test_a_config_file_that_cannot_be_read_is_named_without_a_traceback(furnished, tmp_path, content, said):
    if content is not None:
        (tmp_path / "mine.yaml").write_bytes(content)
    assert re.search(
        rf"--configfile: \S*mine\.yaml.*{said}", furnished.refused("--configfile", f"{tmp_path}/mine.yaml")
    )


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        (
            "overrides={methods: {rlcsd: {objective: {tua: 0.03}}}}",
            "--config: overrides.methods.rlcsd.objective: unknown key 'tua'; the nearest valid key is 'tau'",
        ),
        ("matrix.seeds=[0, 1]", "--config: matrix.seeds=[0, 1]: expected KEY=VALUE, with a key of the top level"),
    ],
)
def test_a_refusal_is_one_message_without_a_traceback(furnished, word, expected):
    assert expected in furnished.refused("--config", word)
    assert not (furnished.folder / "results").exists()


def test_profiles_do_not_compete():
    """profiles/default wins over --profile, so a key that both set could not be changed by choosing a profile."""
    settings = {name: yaml.safe_load((ROOT / "profiles" / name / "config.yaml").read_text()) for name in PROFILES}
    assert set(PROFILES) >= {"default", "local"}
    for name in PROFILES:
        assert name == "default" or not settings[name].keys() & settings["default"].keys()
    machine = {"cores", "jobs", "executor", "default-resources", "set-resources", "set-threads", "latency-wait"}
    assert not settings["default"].keys() & machine
    assert settings["default"]["rerun-triggers"] == ["mtime", "params", "input"]


@pytest.mark.parametrize("words", [[], ["--cores", "5"]])
def test_the_merged_profile_has_invariants_machine_and_command_line(monkeypatch, words):
    monkeypatch.chdir(ROOT)
    _, args = parse_args(["--profile", "profiles/local", *words])
    assert args.cores == (int(words[1]) if words else 2)
    assert sorted(str(trigger) for trigger in args.rerun_triggers) == ["input", "mtime", "params"]
    assert args.rerun_incomplete
    assert args.keep_going


def test_a_job_that_fails_by_the_users_error_says_so_in_one_line_and_in_its_log(tmp_path, furnished):
    """The real script of the data rule, given a parquet that is none."""
    workshop = furnished.copy_to(tmp_path)
    shutil.copytree(ROOT / "workflow" / "scripts", workshop.folder / "workflow" / "scripts", dirs_exist_ok=True)
    for dataset, split in (("mine", "train"), ("chain-3+chain-5+chain-8+chain-10", "val")):
        file = workshop.folder / "mine" / dataset / f"{split}.parquet"
        file.parent.mkdir(parents=True)
        file.write_text("no parquet")
    output = "results/data/mine/train.parquet"
    done = workshop.snakemake(output, "--config", "tasks={arithmetic: {data: {source: mine, dataset: mine}}}")
    assert done.returncode != 0
    log = (workshop.folder / "results/logs/data/mine/train.log").read_text()
    (line,) = log.strip().splitlines()
    assert line.startswith("failed: mine/mine/train.parquet")
    assert line.removeprefix("failed: ") in done.stdout
    assert "Traceback" not in done.stdout
    assert not (workshop.folder / output).exists()


def test_the_report_opens_with_what_was_run_and_holds_captions(changed):
    for figure in (changed.folder / "results" / "figures").rglob("*.svg"):
        figure.write_text('<svg xmlns="http://www.w3.org/2000/svg"><rect width="9" height="9"/></svg>')
    done = changed.snakemake("--report", "results/report.html")
    assert done.returncode == 0, done.stdout
    assert "WARNING" not in done.stdout  # docutils on a caption
    html = (changed.folder / "results" / "report.html").read_text()
    opening = ("The matrix.", "What it does not show.", "knights-2 (shown, never counted)", "ranking of")
    for text in (*opening, "training dynamics", "Gains over base and grpo", "results and where they come from"):
        assert text in html


def leave_draws(folder: Path, variant: str, *others: str) -> None:
    """Of elsewhere: what the workflow is planned from, whatever is in it."""
    run = folder / "draws/arithmetic/tiny_qwen3" / variant / "seed0"
    run.mkdir(parents=True)
    for name in ("chain-3.parquet", "chain-5.parquet", "chain-8.parquet", "chain-10.parquet", *others):
        (run / name).write_text("left by a test")


def test_draws_of_elsewhere_are_reported_and_no_figure_is_asked_for_that_would_be_empty(tmp_path, furnished):
    workshop = furnished.copy_to(tmp_path)
    words = ["--config", "draws={source: draws}", "aggregate=available"]
    leave_draws(workshop.folder, "base")
    jobs = workshop.planned(*words)
    assert not [job for job in jobs if job.startswith(("train", "evaluate", "data", "base_model"))]
    assert not [job for job in jobs if job.startswith(("dynamics", "signals", "contrast", "token")) or "knights" in job]
    assert {"tables main", "claims", "benchmarks arithmetic", "overview", "site"} <= jobs.keys()
    leave_draws(workshop.folder, "grpo", "metrics.jsonl")
    leave_draws(workshop.folder, "rlcsd", "metrics.jsonl", "records.parquet")
    jobs = workshop.planned(*words)
    assert {"dynamics arithmetic", "signals arithmetic", "tokens", "token_view arithmetic"} <= jobs.keys()
    assert not [job for job in jobs if "knights" in job]


def test_the_command_that_makes_a_number_again_has_the_configuration_that_it_was_made_with(tmp_path, furnished):
    workshop = furnished.copy_to(tmp_path)
    (workshop.folder / "workflow/scripts/page.py").write_text(
        "from pathlib import Path\n\nPath(snakemake.output[0]).write_text(snakemake.params.remake)\n"
    )
    page = "results/pages/results.html"
    mine = yaml.safe_load((workshop.folder / "config" / "demo.yaml").read_text())
    mine["overrides"]["all"]["steps"] = 7
    mine["matrix"] |= {"tasks": ["knights"], "variants": ["base", "grpo"]}
    (workshop.folder / "mine.yaml").write_text(yaml.safe_dump(mine))
    words = ["--configfile", "mine.yaml", "--config", "matrix={seeds: [1]}", "--", page]
    assert workshop.snakemake(*words).returncode == 0
    command = (workshop.folder / page).read_text()
    draws = "results/draws/knights/tiny_qwen3/grpo/seed1/knights-3.parquet"
    first, *words = shlex.split(command.replace("{path}", draws))
    assert (first, *words[:3]) == ("snakemake", "--profile", "profiles/local", "--force")
    assert workshop.planned(*words[3:]) == Counter()
    assert workshop.planned(draws) != Counter()
