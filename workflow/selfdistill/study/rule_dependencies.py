"""Which rules read files of which, asked of the rules themselves while Snakemake plans.

`snakemake --rulegraph` says it of what one call makes; a page must not change with what else is asked for beside it.
"""

import functools
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from snakemake.rules import Rule


def dependencies(rules: Iterable["Rule"], targets: Iterable[str]) -> dict[str, list[str]]:
    """Rule -> the rules whose files it reads, of all that making `targets` takes, both in the order of `rules`.

    Runs that differ in their seed alone are made by the same rules, so one of them is looked at.
    """
    rules = list(rules)

    @functools.cache
    def maker(file: str) -> "Rule | None":
        return next((rule for rule in rules if rule.is_producer(file)), None)

    reads: dict[str, set[str]] = {}
    known: set[tuple] = set()
    waiting = list(map(str, targets))
    while waiting:
        file = waiting.pop()
        if (rule := maker(file)) is None:  # it is there without one
            continue
        wildcards = rule.get_wildcards(file)
        alike = (rule.name, *sorted((name, value) for name, value in wildcards.items() if name != "seed"))
        if alike in known:
            continue
        known.add(alike)
        read = list(map(str, rule.expand_input(wildcards)[0]))
        reads.setdefault(rule.name, set()).update(made.name for made in map(maker, read) if made is not None)
        waiting += read
    order = [rule.name for rule in rules]
    return {name: [each for each in order if each in reads[name]] for name in order if name in reads}
