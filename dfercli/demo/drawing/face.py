"""A pen for smooth shapes in head space, and the face that it draws, moved by `Action`."""

from collections.abc import Iterable, Sequence
from functools import lru_cache

import cv2
import numpy as np

from dfercli.demo.drawing.person import Action, Colour, Person, Pose

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
    """Draws shapes onto a (H, W, 3) uint8 picture, in place.

    The size of the person's head sets how far points bulge towards the viewer.
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


def head_outline(person: Person, action: Action) -> np.ndarray:
    """Return the outline of the head without ears; the jaw lowers the chin."""
    w, end, j = person.width, person.length, person.jaw
    drop = 0.17 * action.jaw - 0.02 * action.chin
    half = [
        (0.55 * w, -0.99),
        (0.92 * w, -0.62),
        (w, -0.18),
        (0.97 * w, 0.22),
        ((0.5 + 0.55 * j) * w, end - 0.55 + 0.2 * drop),
        ((0.12 + 0.85 * j) * w, end - 0.27 + 0.7 * drop),
        (0.48 * j * w, end - 0.05 + drop),
    ]
    left = [(-x, y) for x, y in reversed(half)]
    return smooth([(0, -1.1), *half, (0, end + drop), *left], closed=True)


def skin_texture(person: Person, action: Action, pose: Pose) -> np.ndarray:
    """Return the shaded skin: a round head in the person's light with spots of shadow and blush."""
    spots = np.array(_spots(person, action))
    x, y, size_x, size_y, dark, blush = spots.T
    depth = 0.7 * np.sqrt(np.maximum(0, 1 - np.square(x / person.width) - np.square(y / 1.2)))
    across = np.exp(-np.square((GRID_X - (x + depth * pose.yaw)[:, None]) / size_x[:, None]))
    down = np.exp(-np.square((GRID_Y - (y + depth * pose.pitch)[:, None]) / size_y[:, None]))
    tints = np.outer(dark, (0.75, 1.0, 1.05)) + np.outer(blush, (0.05, 1.0, 0.8))
    shadow = np.stack([(down * tint[:, None]).T @ across for tint in tints.T], axis=-1)
    return np.clip(_round_head(person) * (1.0 - shadow), 0, 255).astype(np.uint8)


@lru_cache(maxsize=32)
def _round_head(person: Person) -> np.ndarray:
    x, y = np.meshgrid(GRID_X / (person.width * 1.15), GRID_Y / 1.45)
    front = np.sqrt(np.maximum(0.05, 1 - x**2 - y**2))
    lit = front - 0.82 + x * person.light * 1.4 - 0.18 * y
    factor = 1 + person.contrast * lit
    tint = np.power(factor[..., None], (0.85, 1.1, 1.2))
    return np.asarray(person.skin) * tint


def _spots(person: Person, action: Action) -> list[tuple[float, ...]]:
    """Return soft spots: x, y, both sizes, darkening and reddening."""
    a, nose = action, person.nose_length
    lit = -1 if person.light < 0 else 1
    mouth_y, mouth_x, _ = mouth_corner(person, action)
    stubble = 0.22 if person.beard == "stubble" else 0.0
    spots: list[tuple[float, ...]] = [
        (0, nose - 0.06, 0.08, 0.08, -0.10, 0.05),
        (lit * 0.02, 0.12, 0.04, 0.2, -0.10, 0),
        (-lit * 0.1, 0.14, 0.05, 0.26, 0.12, 0),
        (0, nose + 0.1, 0.12, 0.05, 0.13, 0),
        (0, mouth_y + 0.2 + 0.26 * a.jaw, 0.17, 0.05, 0.14 + 0.08 * a.chin, 0),
        (0, person.length - 0.16 + 0.16 * a.jaw, 0.14, 0.1, -0.06 + 0.06 * a.chin, 0),
        (0, -0.6, 0.4, 0.25, -0.05, 0),
        (0, mouth_y - 0.05, 0.4, 0.28, stubble, -0.1 * stubble),
        (0, person.length - 0.1, 0.5, 0.25, stubble, -0.1 * stubble),
        (0, -0.2, 0.07, 0.1, 0.22 * a.frown * (1 - 0.5 * a.inner_brow) + 0.2 * a.nose, 0),
        (0, 0.08, 0.11, 0.08, 0.22 * a.nose, 0),
    ]
    for side in (-1, 1):
        eye, cheek = side * person.eye_gap, 0.36 - 0.1 * a.cheek
        spots += [
            (eye, -0.04, 0.2, 0.13, 0.16 + 0.06 * a.frown, 0.04),
            (eye, 0.2, 0.15, 0.05, 0.06 + 0.16 * person.age + 0.1 * a.cheek, 0.02),
            (side * 0.43, cheek, 0.18, 0.13, -0.08 - 0.1 * a.cheek, 0.1 + 0.06 * a.cheek),
            (side * (mouth_x + 0.1), mouth_y - 0.1, 0.07, 0.14, 0.16 * a.smile, 0),
            (side * (mouth_x + 0.06), mouth_y + 0.06, 0.06, 0.07, 0.2 * a.sulk, 0),
            (side * 0.22, nose, 0.06, 0.12, 0.16 * max(a.nose, a.upper_lip), 0.03),
        ]
    return spots


def draw_eye(pen: Pen, person: Person, action: Action, side: int) -> None:
    """Draw one eye; `side` is -1 at the image's left and 1 at its right."""
    a, size = action, person.eye_size
    upper = size * 0.56 * (1 + 0.6 * a.wide - 0.4 * a.squint - 0.22 * a.frown - 0.08 * a.cheek)
    lower = size * 0.34 * (1 + 0.15 * a.wide - 0.5 * a.squint - 0.45 * a.cheek)
    upper -= (upper + lower * 0.75) * a.blink
    droop = 0.5 * size * a.inner_brow * (1 - a.outer_brow) * (1 - a.frown * 0.5) * 0.4
    along = np.array([-1.0, -0.55, 0.0, 0.55, 1.0])

    def curve(heights: Points, lift: float = 0.0, stretch: float = 1.0) -> np.ndarray:
        y = np.asarray(heights) - (person.eye_tilt - droop) * along - lift
        return smooth(np.column_stack([side * (person.eye_gap + along * size * stretch), y]))

    top = curve(np.array([0, -0.78, -1, -0.8, 0]) * upper)
    bottom = curve(np.array([0.02, 0.75, 1, 0.85, 0]) * lower)
    iris = size * 0.5
    x = side * person.eye_gap + 0.38 * size * a.gaze_x
    y = -size * 0.07 + 0.3 * size * a.gaze_y
    pupil = iris * (0.5 + 0.08 * a.wide)
    pen.inside(
        np.concatenate([top, bottom[::-1]]),
        [
            (np.concatenate([top, bottom[::-1]]), (246, 244, 240)),
            (circle(x, y, iris), shade(person.iris, 0.55)),
            (circle(x, y + iris * 0.08, iris * 0.84), person.iris),
            (circle(x, y, pupil), (14, 11, 12)),
            (np.concatenate([top, np.add(top, (0, size * 0.1))[::-1]]), shade(person.skin, 0.45)),
            (circle(x - iris * 0.3, y - iris * 0.35, iris * 0.22), (255, 255, 255)),
        ],
    )
    dark = shade(person.skin, 0.55)
    pen.stroke(bottom, np.interp(np.arange(len(bottom)), (0, 12, 24), (0.01, 0.014, 0.02)), dark)
    lash = 0.028 + 0.022 * person.lashes
    pen.stroke(top, np.linspace(0.4, 1.1, len(top)) * lash, (26, 20, 20))
    if person.lashes > 0.6:
        tip = top[-1] + (side * 0.05, -0.035)
        pen.stroke([top[-3], top[-1], tip], np.array([lash, lash * 0.8, 0.004]), (26, 20, 20))
    crease = curve(np.array([0.1, -0.9, -1.05, -0.95, -0.1]) * max(upper, 0.6 * size), 0.05, 1.06)
    pen.stroke(crease[4:], np.linspace(0.006, 0.018, len(crease) - 4), dark)


def draw_brow(pen: Pen, person: Person, action: Action, side: int) -> None:
    """Draw one brow."""
    a, gap, y = action, person.eye_gap, -0.3 - person.brow * 0.3
    lone = a.inner_brow * (1 - a.outer_brow)  # the oblique brow of sadness and, less, of fear
    inner = -0.17 * a.inner_brow + 0.17 * a.frown * (1 - 0.75 * a.inner_brow) + 0.03 * a.nose
    middle = -0.1 * a.inner_brow - 0.06 * a.outer_brow + 0.11 * a.frown * (1 - a.inner_brow * 0.6)
    outer = -0.15 * a.outer_brow + 0.03 * a.frown + 0.06 * lone
    inwards = 0.05 * a.frown
    points = smooth(
        [
            (side * (gap - 0.2 - inwards), y + 0.04 + inner),
            (side * (gap - 0.06 - inwards), y - 0.02 + middle + 0.075 * a.nose),
            (side * (gap + 0.13), y - 0.05 + outer * 0.9 + 0.075 * a.nose),
            (side * (gap + 0.27), y + 0.04 + outer * 0.7 + 0.03 * lone),
        ]
    )
    width = np.interp(np.arange(len(points)), (0, 4, 11, 18), (0.75, 1.1, 0.95, 0.15))
    colour = mix(person.hair_colour, shade(person.skin, 0.3), 0.45)
    pen.stroke(points, width * person.brow * 1.6, colour)


def draw_nose(pen: Pen, person: Person, action: Action) -> None:
    """Draw the nose: its shaded bridge, its wings and nostrils."""
    lift = 0.06 * action.nose + 0.02 * action.upper_lip
    y, dark = person.nose_length - lift, shade(person.skin, 0.56)
    width = person.nose_width * (1 + 0.12 * action.nose + 0.08 * action.smile)
    shaded = 1 if person.light < 0 else -1
    bridge = smooth([(shaded * 0.075, -0.08), (shaded * 0.06, 0.08), (shaded * 0.08, y - 0.14)])
    pen.stroke(bridge, np.linspace(0.004, 0.018, len(bridge)), shade(person.skin, 0.74), 0.85)
    for side in (-1, 1):
        wing = [(0.7, -0.13), (1.02, -0.06), (0.98, 0.015), (0.72, 0.03)]
        wing_xy = smooth([(side * width * u, y + v - lift * 0.3) for u, v in wing])
        pen.stroke(wing_xy, np.linspace(0.006, 0.022, len(wing_xy)), dark, 0.8)
        hole = [(0.66, 0.022), (0.45, 0.0), (0.22, 0.03)]
        hole_xy = smooth([(side * width * u, y + v) for u, v in hole])
        width_xy = np.interp(np.arange(len(hole_xy)), (0, 6, 12), (0.01, 0.034, 0.012))
        pen.stroke(hole_xy, width_xy, shade(person.skin, 0.3), 0.85)
    tip = smooth([(-0.04, y + 0.035), (0, y + 0.05), (0.04, y + 0.035)])
    pen.stroke(tip, 0.014, dark, 0.9)


def mouth_corner(person: Person, action: Action) -> tuple[float, float, float]:
    """Return the mouth's height at rest, its half width and the lowering of its corners."""
    a = action
    y = person.nose_length + 0.27 * person.length / 1.1
    widen = 0.34 * a.smile + 0.32 * a.stretch + 0.04 * a.sulk - 0.12 * a.press - 0.05 * a.chin
    narrow = 0.36 * a.jaw * (1 - a.stretch) * (1 - a.smile)
    corner = -0.13 * a.smile + 0.12 * a.sulk + 0.03 * a.stretch - 0.03 * a.upper_lip + 0.1 * a.jaw
    return y, person.mouth_width * (1 + widen - narrow), corner


def draw_mouth(pen: Pen, person: Person, action: Action) -> None:
    """Draw the lips and the inside of an open mouth."""
    a = action
    y, half, corner = mouth_corner(person, action)
    raised = -0.085 * a.upper_lip - 0.02 * a.part - 0.03 * a.jaw - 0.05 * a.chin * (1 - a.part)
    top_mid = y + raised + 0.035 * a.smile * (1 - 0.6 * a.part) - 0.03 * a.sulk
    low_mid = max(
        top_mid, y + 0.07 * a.part + 0.3 * a.jaw - 0.05 * a.chin + 0.06 * a.smile * a.part
    )
    if a.part + a.jaw + a.tongue < 0.03:
        low_mid = top_mid
    thick_up = 0.07 * person.lip_fullness * (1 - 0.72 * a.press) * (1 - 0.3 * a.smile)
    thick_low = 0.1 * person.lip_fullness * (1 - 0.68 * a.press) * (1 - 0.2 * a.smile)
    across = np.array([-1, -0.85, -0.5, 0, 0.5, 0.85, 1])
    corners = y + corner + 0.05 * a.skew * across * a.smile
    square = 0.12 * max(a.upper_lip, a.stretch)
    profile = np.array(
        [0, 0.36 + square, 0.8 + square * 0.6, 1, 0.8 + square * 0.6, 0.36 + square, 0]
    )

    def row(middle: float, offsets: Sequence[float], thick: float) -> np.ndarray:
        heights = corners + (middle - corners) * profile + np.asarray(offsets) * thick
        return smooth(np.column_stack([across * half, heights]))

    seam_up, seam_low = row(top_mid, (0,) * 7, 0), row(low_mid, (0,) * 7, 0)
    bow = row(top_mid, (0, -0.45, -1, -0.78, -1, -0.45, 0), thick_up)
    pout = row(low_mid, (0, 0.5, 0.95, 1, 0.95, 0.5, 0), thick_low * (1 + 0.2 * a.chin))
    pen.fill(np.concatenate([bow, seam_up[::-1]]), shade(person.lips, 0.86))
    pen.fill(np.concatenate([seam_low, pout[::-1]]), person.lips)
    shine = (seam_low * 0.5 + pout * 0.5)[13:24]
    pen.stroke(shine, 0.02 * (1 - a.press), mix(person.lips, (255, 255, 255), 0.22))
    line = shade(person.lips, 0.4)
    if low_mid - top_mid > 0.012:
        pen.inside(np.concatenate([seam_up, seam_low[::-1]]), _mouth_inside(seam_up, seam_low, a))
        pen.stroke(seam_up, 0.012, line)
        pen.stroke(seam_low, 0.010, line)
        if a.tongue > 0.2:
            out = low_mid + 0.05 + 0.07 * a.tongue
            flat = [(-0.09, top_mid + 0.08), (-0.11, out - 0.06), (0, out), (0.11, out - 0.06)]
            pen.fill(smooth([*flat, (0.09, top_mid + 0.08)]), (208, 104, 112))
            groove = [(0, top_mid + 0.1), (0, out - 0.04)]
            pen.stroke(groove, np.array([0.018, 0.006]), (158, 66, 78))
    else:
        pen.stroke(seam_up, 0.022, line)
    for side, end in ((-1, seam_up[0]), (1, seam_up[-1])):
        tip = np.add(end, (side * 0.035, 0.03 * (a.sulk - a.smile)))
        pen.stroke([end - (side * 0.03, 0), end, tip], np.array([0.02, 0.022, 0.004]), line)


def _mouth_inside(upper: np.ndarray, lower: np.ndarray, a: Action) -> list[tuple[Points, Colour]]:
    teeth, gums = (240, 237, 228), (0, 0.03)
    reach = 0.05 + 0.08 * max(a.smile, a.upper_lip, a.stretch)
    middle = lower[len(lower) // 2]
    shapes: list[tuple[Points, Colour]] = [
        (np.concatenate([upper - gums, (lower + gums)[::-1]]), (52, 16, 20)),
        (circle(middle[0], middle[1] + 0.03, 0.13, 0.11), (176, 84, 88)),
        (np.concatenate([upper - gums, (upper * (0.96, 1) + (0, reach))[::-1]]), teeth),
    ]
    bared = max(a.stretch, a.upper_lip * a.frown)
    if bared > 0.2:
        shapes.append((np.concatenate([lower - (0, 0.06 * bared), (lower + gums)[::-1]]), teeth))
    return shapes


def draw_folds(pen: Pen, person: Person, action: Action) -> None:
    """Draw creases and freckles."""
    a, age, gap, nose = action, person.age, person.eye_gap, person.nose_length
    mouth_y, mouth_x, corner = mouth_corner(person, action)
    cheek = max(0.9 * a.smile, a.upper_lip, 0.7 * a.nose, 0.5 * age, 0.3 * a.sulk)
    anger = a.frown * (1 - 0.45 * a.inner_brow)
    lifted, wide = max(a.inner_brow, a.outer_brow, 0.6 * age), 0.2 + 0.3 * a.outer_brow
    wing, end = person.nose_width + 0.04, mouth_x + 0.08
    low = mouth_y + corner * 0.6 + 0.04
    folds: list[tuple[Points, float]] = [
        ([(wing, nose - 0.1), (wing + 0.1, nose + 0.04), (end, low - 0.08), (end, low)], cheek),
        ([(0.055, -0.4), (0.045, -0.28), (0.06, -0.16)], anger),
        ([(0.03, 0.0), (0.09, -0.03), (0.12, -0.09)], a.nose),
        ([(0.04, 0.08), (0.1, 0.05), (0.15, -0.01)], a.nose),
        ([(-wide, -0.53), (0, -0.56), (wide, -0.53)], lifted),
        ([(-wide, -0.65), (0, -0.68), (wide, -0.65)], lifted * 0.9),
        ([(gap + 0.24, 0.0), (gap + 0.31, -0.04)], max(a.cheek, 0.8 * age)),
        ([(gap + 0.24, 0.06), (gap + 0.31, 0.08)], max(a.cheek, 0.8 * age)),
        ([(gap - 0.14, 0.13), (gap, 0.17), (gap + 0.13, 0.13)], max(a.cheek, a.squint, age) * 0.8),
        ([(end - 0.05, low + 0.04), (end - 0.02, low + 0.16)], max(a.sulk, 0.5 * age)),
    ]
    for points, strength in folds:
        if strength > 0.12:
            line = smooth(points)
            width = np.sin(np.linspace(0.15, np.pi - 0.15, len(line))) * 0.024 * strength
            colour = shade(person.skin, 0.78 - 0.24 * strength)
            for side in (-1, 1):
                pen.stroke(line * (side, 1), width, colour)
    if person.freckles:
        for k in range(14):
            x, y = 0.2 + 0.34 * (k * 0.618 % 1), 0.2 + 0.2 * (k * 0.414 % 1)
            pen.disc((x * (-1) ** k, y), 0.014, shade(person.skin, 0.75), 0.5)
