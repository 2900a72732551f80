"""Draws one frame: a person in front of a backdrop."""

import cv2
import numpy as np

from dfercli.demo.drawing.dressing import (
    draw_back_hair,
    draw_beard,
    draw_body,
    draw_ears,
    draw_front_hair,
    draw_glasses,
)
from dfercli.demo.drawing.face import (
    draw_brow,
    draw_eye,
    draw_folds,
    draw_mouth,
    draw_nose,
    head_outline,
    skin_texture,
)
from dfercli.demo.drawing.pen import Pen, shade
from dfercli.demo.drawing.person import Action, Person, Pose

WIDTH, HEIGHT = 320, 240

ZOOM = 2
"""Pictures are drawn this much larger and then shrunk, which smooths every edge."""


def draw_person(person: Person, action: Action, pose: Pose, backdrop: np.ndarray) -> np.ndarray:
    """Draw one frame.

    Args:
        person: Who.
        action: What the face does.
        pose: Where the head is.
        backdrop: What is behind, RGB uint8 of `ZOOM` times the frame's height and width.

    Returns:
        (HEIGHT, WIDTH, 3) uint8 RGB.
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
    """Draw what is behind a person, `ZOOM` times the size of a frame, out of focus."""
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
