"""Knows the pictures of problems, and reads their bytes when a model needs them.

A parquet holds them as verl reads them: a column `images`, in each row a list of {bytes, path}. The question has one
PLACEHOLDER for each, where it stands in the text. Seven gigabytes of them do not fit into memory, so a problem has
their digests and sizes alone.
"""

import functools
import hashlib
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import pyarrow.parquet as pq
from PIL import Image, UnidentifiedImageError

from selfdistill.errors import UserError

#: Where a picture stands in a question, as in verl's data.
PLACEHOLDER = "<image>"
COLUMN = "images"
#: What is opened. Pillow knows more, and starts other programs for some.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
#: Rows of a row group in files with pictures: one picture is read with its group.
ROW_GROUP = 32
_GROUPS_KEPT = 4
#: Digests of pictures that this process has decoded, and how many it decodes at a time.
_DECODED: set[str] = set()
_DECODERS = 4
#: EXIF's tag of how a camera was held -> how its picture is turned to stand upright; a reader of TIFF does it itself.
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_LYING = (5, 6, 7, 8)
#: Modes of Pillow whose numbers are of 16 bits; of 32 bits nobody says which is white.
_SIXTEEN_BITS, _THIRTY_TWO_BITS = ("I;16", "I;16L", "I;16B", "I;16N"), ("I", "F")


class Source(Protocol):
    """Says where a picture's bytes are."""

    def read(self) -> bytes:
        """Return the file's bytes as they were stored, not decoded."""


@dataclass(frozen=True)
class InMemory:
    """Bytes that are there."""

    data: bytes = field(repr=False)

    def read(self) -> bytes:
        return self.data


@dataclass(frozen=True)
class InParquet:
    """A place in the column `images` of a file.

    Attributes:
        file: the parquet.
        row: counted from 0.
        place: of the picture among those of its row.
    """

    file: str
    row: int
    place: int

    def read(self) -> bytes:
        """Raises UserError where the file has no such picture any more."""
        try:
            return _rows_of_group(self.file, *_group_of(self.file, self.row))[self.place]["bytes"]
        except (OSError, IndexError, KeyError, TypeError, ValueError) as error:  # Arrow's errors are of these kinds
            raise UserError(f"{self}: cannot be read ({error}); the file changed, or is gone: make it again") from error

    def __str__(self) -> str:
        return f"{self.file}: row {self.row} (counted from 0), picture {self.place}"


@dataclass(frozen=True)
class Picture:
    """One picture, which is the same wherever its bytes are.

    Attributes:
        digest: SHA-256 of its bytes (those of the file: PNG, JPEG ...), in hexadecimal digits.
        width, height: pixels, as the picture stands upright.
        source: where the bytes are; no part of what two pictures are compared by.
    """

    digest: str
    width: int
    height: int
    source: Source = field(compare=False, repr=False)

    @classmethod
    def of(cls, data: bytes, source: Source | None = None) -> "Picture":
        """Return the picture of an image file's bytes, by its first ones.

        Raises ValueError for bytes that are none of FORMATS, and for grey of 32 bits.
        """
        try:
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                width, height = image.size[::-1] if _turned(image) in _LYING else image.size
                if image.mode in _THIRTY_TWO_BITS:
                    raise ValueError(f"it has 32 bits a pixel (mode {image.mode}), expected 8 or 16")
        except Exception as error:  # of Pillow's many readers, each of which has its own
            raise ValueError(_reason(error)) from error
        return cls(hashlib.sha256(data).hexdigest(), width, height, InMemory(data) if source is None else source)

    @classmethod
    def at(cls, reference: Mapping[str, Any]) -> "Picture":
        """Return the picture of a `reference`."""
        source = InParquet(reference["file"], reference["row"], reference["place"])
        return cls(reference["digest"], reference["width"], reference["height"], source)

    @property
    def reference(self) -> dict[str, Any]:
        """Returns what tells another process, which sees the same files, which picture it is; plain values.

        Raises ValueError for a picture that is in no file.
        """
        if not isinstance(self.source, InParquet):
            raise ValueError("a picture in this process's memory cannot be named to another one")
        place = {"file": os.path.abspath(self.source.file), "row": self.source.row, "place": self.source.place}
        return {"digest": self.digest, "width": self.width, "height": self.height, **place}

    def read(self) -> bytes:
        """Return the bytes. Raises UserError where they are gone, or are those of another picture."""
        data = self.source.read()
        if hashlib.sha256(data).hexdigest() != self.digest:
            raise UserError(f"{self.source}: is another picture than when the file was read first; run again")
        return data

    def image(self) -> Image.Image:
        """Return the picture in red, green and blue, upright; what is transparent lies on white, and of one that moves
        it is the first frame.

        Raises UserError for an image that cannot be decoded.
        """
        data = self.read()
        try:
            check_whole(data)
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                turned, found = _turned(image), _on_white(image)
            return found.transpose(_UPRIGHT[turned]) if turned in _UPRIGHT else found
        except Exception as error:
            raise UserError(
                f"{self.source}: the picture cannot be decoded ({_reason(error)}); mend or drop it"
            ) from error


def check_whole(data: bytes) -> None:
    """Raise ValueError for a PNG that is not as it was written: Pillow reads some of them, and gets another picture.

    Of the other formats this says nothing; where they are cut short, decoding does (`check_decoded`).
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            image.verify()
    except Exception as error:
        raise ValueError(_reason(error)) from error


def check_decoded(pictures: Iterable[Picture]) -> None:
    """Decode pictures, each once a process: a JPEG that was cut short shows in no other way, and would in mid-training.

    Raises UserError for the first one that cannot be decoded.
    """
    new = {picture.digest: picture for picture in pictures if picture.digest not in _DECODED}
    with ThreadPoolExecutor(_DECODERS) as pool:
        for _ in map(_decode, new.values()) if len(new) == 1 else pool.map(_decode, new.values()):
            pass


def _decode(picture: Picture) -> None:
    picture.image()
    _DECODED.add(picture.digest)


def _turned(image: Image.Image) -> int:
    """How the camera was held, of an image that is not decoded yet; 1 for upright."""
    if image.format == "TIFF":
        return 1
    return Image.Image.getexif(image).get(_ORIENTATION, 1)  # a PNG's own would decode it to find more


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode in _SIXTEEN_BITS:  # Pillow would make white of all that is not almost black
        return Image.fromarray(np.round(np.asarray(image) / 257).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        whole = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", whole.size, "white"), whole).convert("RGB")
    return image.convert("RGB")


def _reason(error: Exception) -> str:
    """What a reader of images says, in a line."""
    if isinstance(error, UnidentifiedImageError):  # names an object in memory
        return "cannot identify an image file"
    kind = "" if type(error) is ValueError else f"{type(error).__name__}: "
    return f"{kind}{error}".partition("\n")[0][:200]


def pictures_of_row(
    cell: Sequence[Mapping[str, Any] | None] | None, file: str | os.PathLike, row: int
) -> list[Picture]:
    """Return the pictures in a row's column `images`.

    Raises UserError for an entry without bytes, or with bytes that are no picture.
    """
    found = []
    for place, entry in enumerate(cell or ()):
        source = InParquet(os.fspath(file), row, place)
        data = (entry or {}).get("bytes")
        if not isinstance(data, bytes) or not data:
            raise UserError(
                f"{source}: column {COLUMN} has no bytes there, expected those of an image file (a path alone is not "
                "followed); write the file's bytes into the row"
            )
        try:
            found.append(Picture.of(data, source))
            check_whole(data)
        except ValueError as error:
            raise UserError(
                f"{source}: its bytes are no picture that can be opened ({error}); expected one of "
                f"{', '.join(FORMATS)}: mend or drop the row"
            ) from error
    return found


def as_cell(pictures: Sequence[Picture]) -> list[dict[str, bytes | None]]:
    """Return the value of the column `images` for these pictures."""
    return [{"bytes": picture.read(), "path": None} for picture in pictures]


@functools.lru_cache(maxsize=64)
def _group_ends(file: str, changed: int) -> tuple[int, ...]:
    """Returns how many rows there are up to the end of each row group; `changed` tells versions of a file apart."""
    with pq.ParquetFile(file) as parquet:
        counts = [parquet.metadata.row_group(i).num_rows for i in range(parquet.num_row_groups)]
    return tuple(sum(counts[: i + 1]) for i in range(len(counts)))


def _group_of(file: str, row: int) -> tuple[int, int]:
    """The row group of a row, and its number in it. Raises IndexError where there is no such row."""
    before = 0
    for group, end in enumerate(_group_ends(file, os.stat(file).st_mtime_ns)):
        if row < end:
            return group, row - before
        before = end
    raise IndexError(f"it has {before} rows")


def _rows_of_group(file: str, group: int, row: int) -> list[dict[str, Any]]:
    return _group(file, os.stat(file).st_mtime_ns, group)[row].as_py()


@functools.lru_cache(maxsize=_GROUPS_KEPT)
def _group(file: str, changed: int, group: int) -> Any:
    with pq.ParquetFile(file) as parquet:
        return parquet.read_row_group(group, columns=[COLUMN]).column(COLUMN)
