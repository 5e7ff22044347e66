"""Calls Slurm's clients with a time limit: with a dead controller they can hang for minutes."""

import subprocess

from selfdistill.errors import UserError

_SECONDS = 60.0


def ask(*words: str) -> str:
    """Returns what a client (squeue, scancel, scontrol) prints.

    Raises UserError, naming client and cause, where it is not there, fails, or does not answer within a minute.
    """
    advice = "is this a machine that submits to Slurm, and is the controller up (scontrol ping)?"
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=_SECONDS, check=True)
    except FileNotFoundError:
        raise UserError(f"{words[0]}: no such command; {advice}") from None
    except subprocess.TimeoutExpired:
        raise UserError(f"{words[0]}: no answer within {_SECONDS:.0f} s; {advice}") from None
    except subprocess.CalledProcessError as error:
        said = error.stderr.strip().partition("\n")[0] or f"exit status {error.returncode}"
        raise UserError(f"{words[0]}: {said}; {advice}") from None
    return done.stdout
