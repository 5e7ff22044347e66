"""Prints what would run and what it takes: python -m selfdistill.planning [--csv FILE] [--snakemake WORDS...]."""

import argparse
import re
import sys

from selfdistill.errors import UserError
from selfdistill.files import write_text
from selfdistill.planning.dry_run import DryRun, study_of
from selfdistill.planning.plan import as_csv, as_text, make_plan


def main(words: list[str]) -> int:
    """Print the plan; the exit status. Errors are one line."""
    parser = argparse.ArgumentParser(prog="python -m selfdistill.planning", description=__doc__)
    parser.add_argument("--csv", metavar="FILE", help="also write a row for each training run and evaluation")
    parser.add_argument(
        "--snakemake", nargs=argparse.REMAINDER, default=[], metavar="WORDS", help="of Snakemake, all that follow"
    )
    args = parser.parse_args(words)
    dry_run = DryRun(args.snakemake)  # works while the configuration is read here
    try:
        try:
            study = study_of(args.snakemake)
        except (UserError, SystemExit) as error:
            try:
                dry_run.jobs()  # what Snakemake itself says of it goes first
            except UserError as refused:
                # It reads config files by itself, and ends with a bare exception where one cannot be read.
                if isinstance(error, UserError) and re.match("(UnicodeDecode|Recursion)Error", str(refused)):
                    raise error from None
                raise
            raise
        plan = make_plan(study, dry_run.jobs())
        from selfdistill.planning import decidable  # numpy and scipy: of this command alone

        claims = decidable.as_text(decidable.outlooks(study))
    except UserError as error:
        print(error, file=sys.stderr)
        return 1
    print(as_text(plan), end="")
    if claims:
        print(f"\n{claims}")
    if args.csv:
        write_text(args.csv, as_csv(plan))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
