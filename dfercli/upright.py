"""A decoded frame as an image: with square pixels, and turned as it was filmed."""

import math

import av
import numpy as np
from av.sidedata.sidedata import SideData
from av.video.reformatter import Interpolation

from dfercli.images import check_pixels


def make_upright(frame: av.VideoFrame, pixel_shape: float) -> np.ndarray | None:
    """Return a frame as (H, W, 3) uint8 RGB; None where FFmpeg cannot convert it.

    Args:
        frame: As it was decoded.
        pixel_shape: Width of a pixel over its height.

    Raises:
        VideoError: The image would have too many pixels.
    """
    width = max(1, round(frame.width * pixel_shape))
    check_pixels("a frame", width, frame.height)
    try:
        image_rgb = frame.reformat(
            width=width, format="rgb24", interpolation=Interpolation.BICUBIC, threads=1
        ).to_ndarray()
    except av.FFmpegError:
        return None
    turns = round(frame.rotation / 90) % 4
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if isinstance(matrix, SideData):
        a, b, _, c, d = np.frombuffer(bytes(matrix), "<i4")[:5].astype(float)
        if a * d < b * c:  # mirrored first, and turned then
            image_rgb = image_rgb[:, ::-1]
            turns = -round(math.degrees(math.atan2(-b, -a)) / 90) % 4
    return np.ascontiguousarray(np.rot90(image_rgb, turns))
