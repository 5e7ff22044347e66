"""Links a profile of this checkout into the user's Snakemake folder, for `snakemake --profile slurm`.

`python -m selfdistill.cluster.link_profile profiles/slurm` (make profile).
"""

import sys
from pathlib import Path

from selfdistill.errors import UserError


def link_profile(profile: Path, folder: Path) -> Path:
    """Link a profile's folder into `folder` under its own name, and return the link.

    Raises UserError where there is no such profile, and where something else has that name there already.
    """
    if not (profile / "config.yaml").is_file():
        raise UserError(f"{profile}: no config.yaml; a profile is a folder that holds one")
    link = folder / profile.name
    if link.is_symlink() and link.resolve() == profile.resolve():
        return link
    if link.is_symlink() or link.exists():
        raise UserError(
            f"{link}: there already, and not this profile; move it away, or use --profile {profile} as it is"
        )
    folder.mkdir(parents=True, exist_ok=True)
    link.symlink_to(profile.resolve())
    return link


if __name__ == "__main__":
    from snakemake.common import get_appdirs

    try:
        print(link_profile(Path(sys.argv[1]), Path(get_appdirs().user_config_dir)))
    except UserError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
