"""Hold what the matrix takes from the hub to commits and hashes, in config/hub.lock.yaml."""

from job import job

with job(snakemake.log[0]) as report:
    from selfdistill.hub.client import resolve
    from selfdistill.hub.lock import LOCK_FILE, read_lock, write_lock

    needed = snakemake.params.files
    lock = resolve(needed, read_lock(), report)
    if any(needed.values()):
        write_lock(lock)
        report(f"{LOCK_FILE}: {sum(map(len, lock.values()))} repositories")
    else:
        report(f"{LOCK_FILE}: unchanged, this matrix takes nothing from the hub")
