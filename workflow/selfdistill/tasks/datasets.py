"""Makes parquet files of problems, generated or imported, in the layout of the paper's hub dataset.

The toy tasks' files are generated from a recipe; others are taken over from the hub, or a folder in the same layout.
"""

import hashlib
import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from selfdistill.errors import UserError
from selfdistill.files import atomic_path
from selfdistill.hub.client import fetch_data
from selfdistill.randomness import generator
from selfdistill.tasks.exercises import exercise_kind, is_training
from selfdistill.tasks.graders import READABLE
from selfdistill.tasks.pictures import Picture, check_decoded
from selfdistill.tasks.schema import Problem, read_problems, write_problems

SPLITS = ("train", "val")
#: Draws in a row without a new exercise after which a size counts as exhausted. The rarest two-person puzzle is one
#: draw in some 500, so for small spaces this is exhaustive; large ones never come near it.
_PATIENCE = 20_000
_SAMPLE = 100  # reference answers that are looked at before a file is taken over
_SHOWN = 60  # characters of one in a message


def write_generated(recipe: Mapping[str, Any], split: str, path: str | os.PathLike) -> list[Problem]:
    """Generate a split (see `generate_problems`), write it as a parquet file and return its problems."""
    problems = generate_problems(recipe, split)
    write_problems(path, problems)
    return problems


def generate_problems(recipe: Mapping[str, Any], split: str) -> list[Problem]:
    """Return the problems of a split, all different, training ones from the training side of the hash split only.

    Exercises whose tests are halved (`Kind.halved`) are the exception: a training set asks the questions of the
    benchmarks, in their order, with a half of their tests.

    A problem depends on the recipe's exercise and seed, the split, the data source and its number alone, but for
    replacements of repeated ones: more problems, or more benchmarks at the end, leave the others as they were.

    Args:
        recipe: exercise, seed and, for "train", dataset, problems (how many) and sizes (taken in turn); for "val",
            benchmarks: name -> {size, problems, and its own exercise where it has one}. A size is a number of
            operations or of people.
        split: "train" or "val".

    Raises:
        UserError: for an unknown exercise, a size or count that it cannot have, and where the side of the split holds
            fewer different problems than asked for.
    """
    if split not in SPLITS:
        raise ValueError(f"split {split!r} is not one of {', '.join(SPLITS)}")
    if split == "train":
        parts = {recipe["dataset"]: (list(recipe["sizes"]), recipe["problems"], recipe["exercise"])}
    else:
        parts = {
            name: ([about["size"]], about["problems"], about.get("exercise", recipe["exercise"]))
            for name, about in recipe["benchmarks"].items()
        }
    seen: dict[int, set[str]] = defaultdict(set)  # size -> exercises; of two sizes no two are the same
    problems = []
    for name, (sizes, count, exercise) in parts.items():
        _check_part(exercise, name, sizes, count)
        for i in range(count):
            size = sizes[i % len(sizes)]
            problems.append(_problem({**recipe, "exercise": exercise}, split, name, i, size, seen[size]))
    return problems


def import_file(
    source: str | os.PathLike,
    target: str | os.PathLike,
    grader: str | None = None,
    report: Callable[[str], None] = print,
    *,
    need_solution: bool = False,
    own_prompts: bool = False,
) -> list[Problem]:
    """Check a parquet of the user's (see `read_problems`), copy it byte for byte, and return its problems.

    Args:
        source: the user's file.
        target: where it goes.
        grader: of its task; None asks nothing of its reference answers.
        report: is given a line where the grader reads few of them.
        need_solution: refuse rows without a solution.
        own_prompts: refuse rows whose column `prompt` cannot be asked as it stands.

    Raises:
        UserError: for what `read_problems` refuses, for a picture that cannot be decoded, where the grader reads no
            reference answer, and where the file cannot be written; nothing is left then.
    """
    problems = read_problems(source, need_solution=need_solution, own_prompts=own_prompts)
    check_decoded(picture for problem in problems for picture in problem.images)
    if grader is not None:
        _check_references(source, [p.answer for p in problems], grader, report)
    try:
        with atomic_path(target) as temporary:
            shutil.copyfile(source, temporary)
    except OSError as error:
        raise UserError(f"{target}: cannot be written ({error.strerror}); make room there, and run again") from error
    return problems


def import_from_hub(
    recipe: Mapping[str, Any],
    target: str | os.PathLike,
    report: Callable[[str], None],
    grader: str | None = None,
    *,
    own_prompts: bool = False,
) -> list[Problem]:
    """Fetch a parquet of a dataset repository (see `selfdistill.hub.client.fetch_data`), and import it as a user's own.

    Raises UserError where it cannot be had, and for what `import_file` refuses; nothing is written then.
    """
    return import_file(fetch_data(recipe, report), target, grader, report, own_prompts=own_prompts)


def _check_references(
    path: str | os.PathLike, answers: Sequence[str], grader: str, report: Callable[[str], None]
) -> None:
    """Refuse a file of which the grader reads no reference answer, and report one of which it reads less than half.

    The latter is judged by some hundred different answers, evenly taken: thousands take the maths grader minutes.
    """
    readable, different = READABLE[grader], list(dict.fromkeys(answers))
    sample = different[:: -(-len(different) // _SAMPLE)]
    read = sum(map(readable, sample))
    if not read and not any(map(readable, different)):
        raise UserError(
            f"{path}: the grader {grader!r} can read none of the {len(different)} different reference answers, such as "
            f"{different[0][:_SHOWN]!r}; name another grader for the task, or write the answers as this one reads them"
        )
    if 2 * read < len(sample):
        report(
            f"warning: {path}: of {len(sample)} reference answers looked at, the grader {grader!r} can read {read}; "
            "results/data/report.csv names the others"
        )


def check_disjoint(train: str | os.PathLike, val: str | os.PathLike, *, allow_overlap: bool = False) -> int:
    """Return the number of problems in `val` whose text, up to white space, and pictures are also in `train`.

    Raises UserError, naming how many and the first ones, where there are any and `allow_overlap` is off.
    """
    trained = {_digest(p): p.id for p in read_problems(train, own_prompts=None)}
    shared = [
        (p.id, trained[digest]) for p in read_problems(val, own_prompts=None) if (digest := _digest(p)) in trained
    ]
    if shared and not allow_overlap:
        first = ", ".join(f"{ours} (= {theirs})" for ours, theirs in shared[:8])
        raise UserError(
            f"{val}: {len(shared)} of its problems are also in {train}: "
            f"{first}{' and more' if len(shared) > 8 else ''}; drop them from one of the files, or allow the overlap"
        )
    return len(shared)


def by_benchmark(
    path: str | os.PathLike, problems: Sequence[Problem], benchmarks: Sequence[str]
) -> dict[str, list[Problem]]:
    """Return the problems of a validation file by their data_source, which names the benchmark.

    Raises UserError, naming the file, where a benchmark has no rows.
    """
    found = {name: [p for p in problems if p.data_source == name] for name in benchmarks}
    if empty := [name for name, rows in found.items() if not rows]:
        present = ", ".join(sorted({p.data_source for p in problems}))
        raise UserError(
            f"{path}: no rows with data_source {', '.join(empty)}; the file has {present}. Write the benchmark's name "
            "into that column, or name the benchmark of the task (tasks.<task>.benchmarks) as the file does"
        )
    return found


def _digest(problem: Problem) -> bytes:
    text = " ".join([*problem.problem.split(), *(each.digest for each in problem.images)])
    return hashlib.sha256(text.encode(errors="surrogatepass")).digest()


def _check_part(exercise: str, name: str, sizes: Sequence[int], count: int) -> None:
    possible = exercise_kind(exercise).sizes
    wrong = [size for size in sizes if size not in possible]
    if wrong or not sizes:
        raise UserError(
            f"{name}: {exercise} has no problems of size {wrong[0] if wrong else '(none given)'}; "
            f"expected {possible.start} to {possible.stop - 1}"
        )
    if count < 1:
        raise UserError(f"{name}: {count} problems asked for; expected one or more")


def _problem(recipe: Mapping[str, Any], split: str, name: str, index: int, size: int, seen: set[str]) -> Problem:
    """One problem that is on the split's side and not in `seen`, which it joins."""
    kind, key = exercise_kind(recipe["exercise"]), (recipe["exercise"], split, name, index)
    if kind.halved:  # a training set asks what the benchmarks ask, with a part of the tests
        key = (recipe["exercise"], "halved", size, len(seen))
    trained = split == "train" and not kind.halved
    rng = generator(recipe["seed"], "problem", *key)
    for _ in range(_PATIENCE):
        exercise = kind.make(rng, size)
        if is_training(exercise) != trained or exercise.canonical in seen:
            continue
        seen.add(exercise.canonical)
        reference = exercise.reference(generator(recipe["seed"], "solution", *key))
        if kind.halved and split == "train":
            reference = replace(reference, answer=exercise.searched_answer)
        return Problem(
            id=f"{name}/{index}",
            data_source=name,
            problem=exercise.text(),
            answer=reference.answer,
            solution=reference.solution,
            ability=kind.ability,
            index=index,
            split=split,
            images=tuple(map(Picture.of, exercise.pictures)) if kind.pictures else (),
        )
    raise UserError(
        f"{name}: no problem number {index}: {recipe['exercise']} of size {size} has {len(seen)} different problems on "
        f"the {split} side of the split ({_PATIENCE} draws in a row gave no other); ask for fewer"
    )
