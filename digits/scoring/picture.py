"""Draw images in rows, each with a caption."""

import base64
import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from digits.data.dataset import Dataset

COLUMNS = 5
SIDE = 112  # screen pixels of an image's longer side, or a little less, so that each image pixel becomes a square
MARGIN = 8
CAPTION = 20  # height of a caption, in screen pixels


def as_seen(features: Sequence[NDArray[np.generic]], dataset: Dataset) -> NDArray[np.uint8]:
    """Convert features of n images, float32 from 0 to 1, to uint8 [n, *image_shape] for people: dark ink on white."""
    images = np.rint(np.asarray(features, np.float32) * 255).astype(np.uint8).reshape(-1, *dataset.image_shape)
    return images if dataset.ink is None else 255 - images


def draw_images(images: NDArray[np.uint8], captions: Sequence[str], columns: int = COLUMNS) -> Image.Image:
    """Draw n images, uint8 [n, height, width] or [n, height, width, 3], with n captions, in rows on white."""
    height, width = (side * max(1, SIDE // max(images.shape[1:3])) for side in images.shape[1:3])
    font = ImageFont.load_default(size=13)
    cell_width = max([width, *(math.ceil(font.getlength(caption)) for caption in captions)]) + MARGIN
    cell_height = height + CAPTION + MARGIN
    rows = max(1, math.ceil(len(images) / columns))
    size = columns * cell_width + MARGIN, rows * cell_height + MARGIN
    picture = Image.new("L" if images.ndim == 3 else "RGB", size, "white")
    draw = ImageDraw.Draw(picture)
    for index, (image, caption) in enumerate(zip(images, captions, strict=True)):
        left, top = MARGIN + index % columns * cell_width, MARGIN + index // columns * cell_height
        picture.paste(Image.fromarray(image).resize((width, height), Image.Resampling.NEAREST), (left, top))
        draw.text((left, top + height + 2), caption, fill="black", font=font)
    if not len(images):
        draw.text((MARGIN, MARGIN), "none misclassified", fill="black", font=font)
    return picture


def in_base64(picture: Image.Image) -> str:
    """Return a picture as PNG in Base64."""
    file = io.BytesIO()
    picture.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def save_png(picture: Image.Image, path: Path) -> None:
    """Save a picture without time, version or other metadata, so that equal pictures give equal bytes.

    zlib's run-length encoding is used. The default searches for matches, and its results may depend on the processor
    and on the version of zlib.
    """
    picture.save(path, format="PNG", optimize=False, compress_level=9, compress_type=3)  # 3: zlib's Z_RLE
