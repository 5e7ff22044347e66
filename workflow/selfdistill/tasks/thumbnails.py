"""Makes small copies of pictures, for pages that show what a model was shown."""

import io

from PIL import Image

from selfdistill.tasks.pictures import Picture

#: Pixels of a side, and bytes of a copy, at most: 256 x 256 in 64 colours are less, whatever they show.
MOST_PIXELS, MOST_BYTES = 256, 100_000
_COLOURS = 64
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def thumbnail(picture: Picture) -> bytes:
    """A PNG of the picture: as large where it is small, in fewer pixels and, where need be, colours where it is not.

    Raises UserError for a picture that cannot be read.
    """
    image = picture.image()
    image.thumbnail((MOST_PIXELS, MOST_PIXELS))
    found = _png(image)
    return found if len(found) <= MOST_BYTES else _png(image.quantize(_COLOURS))


def is_thumbnail(data: bytes) -> bool:
    """Returns whether bytes may be such a copy: a PNG by its first bytes, and no larger than one can be."""
    return data.startswith(SIGNATURE) and len(data) <= MOST_BYTES


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, format="PNG", optimize=True)
    return file.getvalue()
