"""Centre digits by their box, for comparison. MNIST centres digits by their mass."""

import numpy as np
from numpy.typing import NDArray


def centred_by_box(box: NDArray[np.float32], *_: object, **__: object) -> NDArray[np.uint8]:
    """Centre the box of a digit instead of its mass, as a replacement for the function `centre`."""
    height, width = box.shape
    top, left = (28 - height) // 2, (28 - width) // 2
    padding = ((top, 28 - height - top), (left, 28 - width - left))
    return np.rint(np.pad(box, padding) * 255).astype(np.uint8)
