"""Draw people: a person, a facial action and a pose give a picture."""

import cv2
import numpy as np

from dfercli.demo.drawing.face import (
    Pen,
    circle,
    draw_brow,
    draw_eye,
    draw_folds,
    draw_mouth,
    draw_nose,
    fill_polygon,
    head_outline,
    mix,
    mouth_corner,
    shade,
    skin_texture,
    smooth,
)
from dfercli.demo.drawing.person import (
    HAIRCUTS,
    LONG_CUTS,
    SHORT_CUTS,
    Action,
    Person,
    Pose,
    make_person,
)

__all__ = [
    "HAIRCUTS",
    "HEIGHT",
    "LONG_CUTS",
    "SHORT_CUTS",
    "WIDTH",
    "Action",
    "Person",
    "Pose",
    "draw_backdrop",
    "draw_person",
    "make_person",
]

WIDTH, HEIGHT = 320, 240

ZOOM = 2
"""Factor by which pictures are drawn larger and then shrunk, to smooth all edges."""


def draw_person(person: Person, action: Action, pose: Pose, backdrop: np.ndarray) -> np.ndarray:
    """Draw one frame, (HEIGHT, WIDTH, 3) uint8 RGB, of a person in a pose.

    The backdrop is that of `draw_backdrop`: `ZOOM` times the frame's height and width.
    """
    image = backdrop.copy()
    body = Pen(image, Pose(pose.x * 0.6, pose.y * 0.4, pose.roll * 0.2, pose.scale), person)
    head = Pen(image, pose, person)
    outline = head_outline(person, action)
    draw_back_hair(head, person)
    draw_body(body, head, person)
    draw_ears(head, person)
    head.paint(outline, skin_texture(person, action, pose))
    edge = np.concatenate([outline, outline[:2]])
    head.stroke(edge, 0.012, shade(person.skin, 0.62), depth=0)
    for side in (-1, 1):
        draw_eye(head, person, action, side)
    draw_folds(head, person, action)
    draw_beard(head, person, action)
    for side in (-1, 1):
        draw_brow(head, person, action, side)
    draw_nose(head, person, action)
    draw_mouth(head, person, action)
    draw_front_hair(head, person)
    draw_glasses(head, person)
    return cv2.resize(image, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)


def draw_backdrop(person: Person) -> np.ndarray:
    """Draw the blurred backdrop of a person, `ZOOM` times the size of a frame."""
    height, width = HEIGHT * ZOOM, WIDTH * ZOOM
    image = np.empty((height, width, 3), np.uint8)
    image[:] = person.backdrop
    light, dark = (tuple(min(255, c * f // 10) for c in person.backdrop) for f in (12, 8))
    if person.scenery == "window":
        cv2.rectangle(image, (30, 30), (200, 260), light, -1)
        cv2.rectangle(image, (108, 30), (122, 260), dark, -1)
        cv2.rectangle(image, (480, 160), (width, 176), dark, -1)
    elif person.scenery == "dots":
        for k in range(24):
            cv2.circle(image, (k * 97 % width, k * 61 % height), 26, (light, dark)[k % 2], -1)
    elif person.scenery == "stripes":
        for x in range(0, width, 80):
            cv2.rectangle(image, (x, 0), (x + 36, height), light, -1)
    elif person.scenery == "hills":
        cv2.circle(image, (90, 520), 260, dark, -1)
        cv2.circle(image, (560, 560), 300, light, -1)
        cv2.circle(image, (540, 80), 46, light, -1)
    blurred = cv2.GaussianBlur(image, (0, 0), 5)
    ramp = np.linspace(1.1, 0.82, height)[:, None, None] * np.linspace(0.95, 1.05, width)[:, None]
    return np.clip(blurred * ramp, 0, 255).astype(np.uint8)


def draw_ears(pen: Pen, person: Person) -> None:
    """Draw both ears and earrings."""
    for side in (-1, 1):
        x = side * person.width
        lobe = circle(x, 0.1, 0.1, 0.19)
        pen.fill(lobe, shade(person.skin, 0.84), depth=-0.15)
        inner = smooth([(x + side * 0.05, 0.0), (x + side * 0.06, 0.1), (x + side * 0.02, 0.2)])
        pen.stroke(inner, 0.018, shade(person.skin, 0.6), depth=-0.15)
        if person.earrings:
            pen.disc((x + side * 0.03, 0.33), 0.045, (238, 196, 84), -0.15)


def draw_beard(pen: Pen, person: Person, action: Action) -> None:
    """Draw a beard or a moustache around the mouth; stubble is part of the skin."""
    if person.beard not in ("full", "moustache"):
        return
    y, half, corner = mouth_corner(person, action)
    colour = mix(person.hair_colour, person.skin, 0.12 if person.beard == "full" else 0.28)
    outline = head_outline(person, action)
    if person.beard == "full":
        jaw = outline[(outline[:, 1] > 0.2)]
        inner = smooth(
            [
                (-0.84 * person.width, 0.3),
                (-0.66 * person.width, y - 0.05),
                (-half - 0.08, y - 0.12 + corner * 0.5),
                (0, y - 0.13),
                (half + 0.08, y - 0.12 + corner * 0.5),
                (0.66 * person.width, y - 0.05),
                (0.84 * person.width, 0.3),
            ]
        )
        pen.fill(np.concatenate([jaw, inner]), colour, depth=0)
    tip = (half + 0.05, y + corner * 0.8 + 0.02)
    bar = smooth([(-tip[0], tip[1]), (-0.14, y - 0.11), (0, y - 0.1), (0.14, y - 0.11), tip])
    lifted = bar - (0, 0.05 * action.upper_lip)
    pen.stroke(lifted, 0.02 + 0.06 * np.sin(np.linspace(0, np.pi, len(bar))), colour)


def _hair_edges(person: Person) -> tuple[np.ndarray, np.ndarray]:
    """Return the hairline and the outer edge of the hair, seven points each, left to right."""
    cut, w = HAIRCUTS[person.haircut], person.width
    across = np.array([-0.95, -0.84, -0.46, 0, 0.46, 0.84, 0.95])
    hairline = np.column_stack([across * w, cut.hairline])
    side = 1.0 + cut.volume * 0.8
    end = side if cut.hairline[0] > 0.3 else 1.0
    x = np.array([-end, -side * 0.99, -0.62 * side, 0, 0.62 * side, 0.99 * side, end]) * w
    top = np.array([0, -0.52, -0.98, -1.15, -0.98, -0.52, 0]) - cut.volume * 0.9
    top[[0, -1]] = hairline[[0, -1], 1] + (0.03 if end == side else -0.06)
    return hairline, np.column_stack([x, top])


def draw_back_hair(pen: Pen, person: Person) -> None:
    """Draw the hair behind the face, and a bun."""
    cut = HAIRCUTS[person.haircut]
    if cut.bun:
        pen.disc((0.05, -1.3), cut.bun, shade(person.hair_colour, 0.8), -0.3)
    if not cut.back:
        return
    _, outer = _hair_edges(person)
    side, colour = 1.06 + cut.volume, shade(person.hair_colour, 0.72)
    end = (0.95 if cut.back > 0.5 else 0.75) * side * person.width
    ends = [(end, cut.back), (-end, cut.back)]
    middle = [(side * person.width, cut.back * 0.5), *ends, (-side * person.width, cut.back * 0.5)]
    edge = smooth([*outer[1:-1], *middle], closed=True)
    pen.fill(edge, colour, depth=-0.2)
    if cut.curls:
        for x, y in edge[::4]:
            pen.disc((x, y), cut.curls, colour, -0.2)


def draw_front_hair(pen: Pen, person: Person) -> None:
    """Draw the hair on the skull and around the face."""
    cut = HAIRCUTS[person.haircut]
    if not cut.hairline:
        return
    inner, outer = _hair_edges(person)
    colour, light = person.hair_colour, mix(person.hair_colour, (255, 240, 220), 0.16)
    edge_in, edge_out, soft = smooth(inner), smooth(outer), mix(colour, light, 0.35)
    placed = np.concatenate([pen.place(edge_in), pen.place(edge_out, 0)[::-1]])
    fill_polygon(pen.image, placed, colour)
    for share, tone in ((0.3, light), (0.55, light), (0.8, shade(colour, 0.75))):
        band = (edge_in * (1 - share) + edge_out * share)[8:-8]
        pen.stroke(band, 0.035 * np.sin(np.linspace(0, np.pi, len(band))), tone, 0.25)
    if cut.curls:
        for k, (x, y) in enumerate(np.concatenate([edge_out[2:-2:3], edge_in[6:-6:4]])):
            pen.disc((x, y), cut.curls * (0.8 + 0.2 * (k % 2)), (colour, soft)[k % 3 == 0], 0.1)


def draw_body(body: Pen, head: Pen, person: Person) -> None:
    """Draw the shoulders, the neck that joins them to the head, and the collar."""
    clothes, skin = person.clothes, shade(person.skin, 0.8)
    half = [(0.36, 1.3), (0.8, 1.48), (1.25, 1.68), (1.5, 2.1), (1.55, 2.8)]
    left = [(-x, y) for x, y in reversed(half)]
    body.fill(smooth([*left, *half]), clothes, depth=0)
    for side in (-1, 1):
        sleeve = smooth([(side * 1.05, 1.75), (side * 0.98, 2.1), (side * 1.0, 2.5)])
        body.stroke(sleeve, 0.03, shade(clothes, 0.75), depth=0)
    low = {"vee": 1.85, "shirt": 1.75}.get(person.collar, 1.52)
    bend = 0.16 if person.collar in ("vee", "shirt") else 0.3
    throat = [(-0.46, 1.34), (-bend, 1.34 + (low - 1.34) * 0.75), (0, low)]
    throat += [(-x, y) for x, y in reversed(throat[:-1])]
    body.fill(smooth(throat), skin, depth=0)
    neck = np.concatenate(
        [head.place([(-0.4, 0.6), (0.4, 0.6)], 0), body.place([(0.44, 1.4), (-0.44, 1.4)], 0)]
    )
    fill_polygon(body.image, neck, skin)
    shadow = smooth([(-0.42, 0.9), (-0.3, 1.2), (0, 1.3), (0.3, 1.2), (0.42, 0.9)])
    head.fill(shadow, shade(person.skin, 0.62), depth=0)
    trim = shade(clothes, 0.72)
    if person.collar == "high":
        roll = [(-0.47, 1.2), (0, 1.3), (0.47, 1.2), (0.52, 1.5), (0, 1.62), (-0.52, 1.5)]
        body.fill(smooth(roll, closed=True), mix(clothes, (255, 255, 255), 0.12), depth=0)
    elif person.collar == "shirt":
        for side in (-1, 1):
            flap = [(0.42, 1.26), (0.02, 1.75), (0.28, 1.95), (0.62, 1.45)]
            body.fill([(side * x, y) for x, y in flap], mix(clothes, (255, 255, 255), 0.45), 0)
    else:
        body.stroke(smooth(throat), 0.05, trim, depth=0)


def draw_glasses(pen: Pen, person: Person) -> None:
    """Draw glasses in front of everything."""
    if not person.glasses:
        return
    frame = (38, 34, 40) if person.glasses == "round" else (112, 48, 36)
    gap, power = person.eye_gap, 1.0 if person.glasses == "round" else 0.55
    angle = np.linspace(0, 2 * np.pi, 33)
    for side in (-1, 1):
        x = np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** power * 0.27 + side * (gap + 0.01)
        y = np.sign(np.sin(angle)) * np.abs(np.sin(angle)) ** power * 0.22 + 0.03
        pen.stroke(np.column_stack([x, y]), 0.032, frame, depth=0.7)
        temple = [(side * (gap + 0.28), -0.03), (side * person.width, -0.06)]
        pen.stroke(np.array(temple), 0.03, frame)
    pen.stroke(smooth([(-gap + 0.26, 0), (0, -0.04), (gap - 0.26, 0)]), 0.028, frame, depth=0.7)
