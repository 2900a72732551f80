"""Draws smooth shapes, given in head space, onto a picture."""

from collections.abc import Iterable, Sequence

import cv2
import numpy as np

from dfercli.demo.drawing.person import Colour, Person, Pose

UNIT_PX = 118.0
"""Pixels of the enlarged picture in one unit of head space, for a head of scale 1."""

SHIFT = 4
"""Fractional bits of OpenCV's fixed-point coordinates."""

STEPS = np.linspace(0, 1, 6, endpoint=False)[:, None] ** np.arange(4)

BASIS = STEPS @ np.array([[0, 2, 0, 0], [-1, 0, 1, 0], [2, -5, 4, -1], [-1, 3, -3, 1]]) / 2
"""Weights of four control points for six points of a Catmull-Rom curve between the middle two."""

CELL = 1 / 30

GRID_X = np.arange(-1.2, 1.2, CELL)

GRID_Y = np.arange(-1.4, 1.7, CELL)
"""Positions of the cells of the skin's texture in head space; coarse, since it is only shading."""

Points = Sequence[Sequence[float]] | np.ndarray


class Pen:
    """Draws shapes onto a picture, in place.

    Args:
        image: (H, W, 3) uint8 RGB.
        pose: Pose of the head.
        person: The person; the size of the head sets how far points bulge towards the viewer.
    """

    def __init__(self, image: np.ndarray, pose: Pose, person: Person) -> None:
        height, width = image.shape[:2]
        scale = UNIT_PX * pose.scale
        turn = scale * np.array(
            [[np.cos(pose.roll), -np.sin(pose.roll)], [np.sin(pose.roll), np.cos(pose.roll)]]
        )
        centre = np.array([width / 2 + pose.x * UNIT_PX, height * 0.47 + pose.y * UNIT_PX])
        self.matrix = np.column_stack([turn, centre])
        self.image = image
        self._turn = np.array([pose.yaw, pose.pitch])
        self._radii = np.array([person.width * 1.02, 1.2])

    def place(self, points: Points, depth: float | None = None) -> np.ndarray:
        """Return the pixels of points on the bulging head, or at one `depth`."""
        xy = np.asarray(points, dtype=np.float64)[:, :2]
        if depth is None:
            distance = np.square(xy / self._radii).sum(axis=1, keepdims=True)
            lift = 0.7 * np.sqrt(np.maximum(0.0, 1.0 - distance))
        else:
            lift = np.full((1, 1), depth)
        return (xy + lift * self._turn) @ self.matrix[:, :2].T + self.matrix[:, 2]

    def fill(self, points: Points, colour: Colour, depth: float | None = None) -> None:
        """Fill a polygon."""
        fill_polygon(self.image, self.place(points, depth), colour)

    def stroke(
        self, points: Points, width: Points | float, colour: Colour, depth: float | None = None
    ) -> None:
        """Draw a line with one width, or one per point."""
        xy = self.place(points, depth)
        half = np.asarray(width, dtype=np.float64) / 2 * np.hypot(*self.matrix[:, 0])
        along = np.gradient(xy, axis=0)
        normal = along[:, ::-1] * (1, -1) / (np.linalg.norm(along, axis=1, keepdims=True) + 1e-6)
        edge = normal * np.broadcast_to(half, len(xy))[:, None]
        fill_polygon(self.image, np.concatenate([xy + edge, (xy - edge)[::-1]]), colour)

    def disc(self, centre: Sequence[float], radius: float, colour: Colour, depth: float) -> None:
        """Fill a circle."""
        xy = np.round(self.place([centre], depth)[0] * 2**SHIFT).astype(int)
        size = round(radius * float(np.hypot(*self.matrix[:, 0])) * 2**SHIFT)
        cv2.circle(self.image, (int(xy[0]), int(xy[1])), size, colour, -1, cv2.LINE_AA, SHIFT)

    def inside(self, window: Points, shapes: Iterable[tuple[Points, Colour]]) -> None:
        """Fill polygons inside a window, which is a polygon, too."""
        frame = self.place(window)
        left, top, right, bottom = self._bounds(frame)
        if right <= left or bottom <= top:
            return
        part = self.image[top:bottom, left:right]
        patch, mask = part.copy(), np.zeros(part.shape[:2], np.uint8)
        for points, colour in shapes:
            fill_polygon(patch, self.place(points) - (left, top), colour)
        fill_polygon(mask, frame - (left, top), 255)
        cv2.copyTo(patch, mask, part)

    def paint(self, outline: Points, texture: np.ndarray) -> None:
        """Fill the head with a texture on the grid of `GRID_X` and `GRID_Y`."""
        frame = self.place(outline, 0)
        left, top, right, bottom = self._bounds(frame)
        part = self.image[top:bottom, left:right]
        to_head = np.array([[CELL, 0, GRID_X[0]], [0, CELL, GRID_Y[0]], [0, 0, 1]])
        matrix = self.matrix @ to_head - [[0, 0, left], [0, 0, top]]
        patch = cv2.warpAffine(texture, matrix, (right - left, bottom - top), borderMode=1)
        mask = np.zeros(part.shape[:2], np.uint8)
        fill_polygon(mask, frame - (left, top), 255)
        cv2.copyTo(patch, mask, part)

    def _bounds(self, xy: np.ndarray) -> tuple[int, int, int, int]:
        height, width = self.image.shape[:2]
        left, top = np.clip(np.floor(xy.min(axis=0)) - 1, 0, (width, height)).astype(int)
        right, bottom = np.clip(np.ceil(xy.max(axis=0)) + 2, 0, (width, height)).astype(int)
        return int(left), int(top), int(right), int(bottom)


def smooth(points: Points, closed: bool = False) -> np.ndarray:
    """Return a Catmull-Rom curve through points, with six points per segment."""
    knots = np.asarray(points, dtype=np.float64)
    before, after = (knots[-1:], knots[:2]) if closed else (knots[:1], knots[-1:])
    padded = np.concatenate([before, knots, after])
    parts = np.stack([padded[k : len(padded) - 3 + k] for k in range(4)])
    curve = np.einsum("sk,knd->nsd", BASIS, parts).reshape(-1, 2)
    return curve if closed else np.concatenate([curve, knots[-1:]])


def circle(x: float, y: float, radius: float, height: float | None = None) -> np.ndarray:
    """Return the points of a circle, or of an ellipse if `height` differs from the radius."""
    angle = np.linspace(0, 2 * np.pi, 25)[:-1]
    down = radius if height is None else height
    return np.column_stack([x + radius * np.cos(angle), y + down * np.sin(angle)])


def fill_polygon(image: np.ndarray, xy: np.ndarray, colour: Colour | int) -> None:
    """Fill a polygon given in pixels."""
    fixed = np.round(xy * 2**SHIFT).astype(np.int32)
    value = (colour,) if isinstance(colour, int) else colour
    cv2.fillPoly(image, [fixed], value, cv2.LINE_AA, SHIFT)


def shade(colour: Colour, factor: float) -> Colour:
    """Darken a colour as on skin, where red fades last."""
    red, green, blue = (c * factor**p for c, p in zip(colour, (0.85, 1.1, 1.15), strict=True))
    return int(red), int(green), int(blue)


def mix(colour: Colour, other: Colour, share: float) -> Colour:
    """Blend two colours; a share of 1 is the other."""
    red, green, blue = (int(a + (b - a) * share) for a, b in zip(colour, other, strict=True))
    return red, green, blue
