"""Host-side drawing shared by every family: sprites, tile grids, text, panels, video frames.

Pictures are `uint8[H, W, 3]` numpy arrays; sprites are `uint8[h, w, 4]` with alpha. Nothing here touches JAX, and pixels depend only on
the arguments: no fonts of the machine, no anti-aliasing.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import numpy as np

Color = tuple[int, int, int]

INK: Color = (232, 236, 239)
MUTED: Color = (140, 150, 160)
BACKGROUND: Color = (24, 28, 34)
ACCENT: Color = (86, 182, 118)
WARNING: Color = (224, 122, 95)

GLYPH_WIDTH, GLYPH_HEIGHT = 6, 11


def sprite(rows: Sequence[str], palette: Mapping[str, Sequence[int]]) -> np.ndarray:
    """A sprite from text, one character per pixel.

    Args:
        rows: equally long strings, top to bottom. A space is transparent.
        palette: character -> (r, g, b) or (r, g, b, a).

    Returns:
        uint8[len(rows), len(rows[0]), 4].

    Raises:
        ValueError: uneven rows, or a character that the palette lacks.
    """
    if not rows or any(len(row) != len(rows[0]) for row in rows):
        raise ValueError(f"rows: all rows of a sprite must have the same length >= 1, got {[len(row) for row in rows]}")
    out = np.zeros((len(rows), len(rows[0]), 4), np.uint8)
    for y, row in enumerate(rows):
        for x, char in enumerate(row):
            if char == " ":
                continue
            if char not in palette:
                raise ValueError(f"palette: no colour for {char!r} in row {y}; known: {' '.join(sorted(palette))}")
            color = tuple(palette[char])
            out[y, x] = color if len(color) == 4 else (*color, 255)
    return out


def enlarge(picture: np.ndarray, scale: int) -> np.ndarray:
    """Every pixel `scale` x `scale` times."""
    return picture if scale == 1 else picture.repeat(scale, axis=0).repeat(scale, axis=1)


def canvas(height: int, width: int, color: Color = BACKGROUND) -> np.ndarray:
    """uint8[height, width, 3] of one colour."""
    out = np.empty((height, width, 3), np.uint8)
    out[:] = color
    return out


def grid(tiles: np.ndarray, sprites: np.ndarray, scale: int = 1) -> np.ndarray:
    """A map drawn from equally large tiles.

    Args:
        tiles: int[rows, columns] index of the sprite of each cell.
        sprites: uint8[n, s, s, 3 or 4]; alpha is blended over `BACKGROUND`.
        scale: integer magnification.

    Returns:
        uint8[rows * s * scale, columns * s * scale, 3].
    """
    tiles = np.asarray(tiles)
    if tiles.size and (tiles.min() < 0 or tiles.max() >= len(sprites)):
        raise ValueError(f"tiles: ids must lie in [0, {len(sprites)}), got {tiles.min()} to {tiles.max()}")
    opaque = flatten(sprites)
    rows, columns = tiles.shape
    height, width = opaque.shape[1:3]
    picture = opaque[tiles].transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, 3)
    return enlarge(picture, scale)


def flatten(picture: np.ndarray, background: Color = BACKGROUND) -> np.ndarray:
    """`[..., 4]` blended over a colour -> uint8 `[..., 3]`; `[..., 3]` is returned as it is."""
    if picture.shape[-1] == 3:
        return picture
    alpha = picture[..., 3:].astype(np.uint16)
    under = np.asarray(background, np.uint16)
    return ((picture[..., :3] * alpha + under * (255 - alpha) + 127) // 255).astype(np.uint8)


def paste(picture: np.ndarray, part: np.ndarray, y: int, x: int) -> np.ndarray:
    """Draw `part` (`[h, w, 3 or 4]`) into `picture` in place, top left corner at (y, x); what lies outside is cut. Returns `picture`."""
    top, left = max(y, 0), max(x, 0)
    bottom, right = min(y + part.shape[0], picture.shape[0]), min(x + part.shape[1], picture.shape[1])
    if top >= bottom or left >= right:
        return picture
    part = part[top - y : bottom - y, left - x : right - x]
    place = picture[top:bottom, left:right]
    if part.shape[-1] == 4:
        alpha = part[..., 3:].astype(np.uint16)
        part = (part[..., :3] * alpha + place * (255 - alpha) + 127) // 255
    place[:] = part
    return picture


@functools.lru_cache(maxsize=4096)
def text_mask(text: str) -> np.ndarray:
    """bool[11, 6 * len(text)]: the pixels of one line in Pillow's built-in bitmap font."""
    from PIL import Image, ImageDraw, ImageFont

    # The font knows Latin-1 only.
    text = text.encode("latin-1", "replace").decode("latin-1")
    image = Image.new("L", (max(1, GLYPH_WIDTH * len(text)), GLYPH_HEIGHT), 0)
    ImageDraw.Draw(image).text((0, 0), text, fill=255, font=ImageFont.load_default_imagefont())
    mask = np.asarray(image) > 127
    mask.setflags(write=False)
    return mask


def write(picture: np.ndarray, text: str, y: int, x: int, color: Color = INK, scale: int = 1) -> np.ndarray:
    """Write one line of text in place at (y, x); what lies outside is cut. Returns `picture`."""
    mask = enlarge(text_mask(text), scale)
    height = min(mask.shape[0], picture.shape[0] - y)
    width = min(mask.shape[1], picture.shape[1] - x)
    if height > 0 and width > 0:
        picture[y : y + height, x : x + width][mask[:height, :width]] = color
    return picture


def fit(text: str, width: int, scale: int = 1) -> str:
    """`text`, shortened with dots so that it is at most `width` pixels wide."""
    most = max(0, width // (GLYPH_WIDTH * scale))
    return text if len(text) <= most else text[: max(0, most - 2)] + ".." * (most >= 2)


def bar(height: int, width: int, share: float, color: Color = ACCENT, background: Color = (52, 58, 66)) -> np.ndarray:
    """uint8[height, width, 3] progress bar, filled to `share` in [0, 1]."""
    out = canvas(height, width, background)
    out[:, : round(width * min(1.0, max(0.0, float(share))))] = color
    return out


def panel(lines: Sequence[str | tuple[str, Color]], width: int, height: int | None = None, scale: int = 1, margin: int = 4) -> np.ndarray:
    """A panel of text lines.

    Args:
        lines: text, or (text, colour), from top to bottom; too long lines are shortened, lines that do not fit are left out.
        width, height: size in pixels; `height=None` is as high as the lines need.

    Returns:
        uint8[height, width, 3].
    """
    step = (GLYPH_HEIGHT + 2) * scale
    out = canvas(2 * margin + step * len(lines) if height is None else height, width)
    for i, line in enumerate(lines):
        text, color = (line, INK) if isinstance(line, str) else line
        if margin + i * step + GLYPH_HEIGHT * scale > out.shape[0]:
            break
        write(out, fit(text, width - 2 * margin, scale), margin + i * step, margin, color, scale)
    return out


def caption(picture: np.ndarray, text: str, right: str = "", color: Color = INK, scale: int | None = None) -> np.ndarray:
    """A copy of `picture` with a bar of text below it (`right` stands at the right end)."""
    width = picture.shape[1]
    scale = scale or (2 if width >= 480 else 1)
    pad = 3 * scale
    strip = canvas(GLYPH_HEIGHT * scale + 2 * pad, width)
    taken = 0
    if right:
        right = fit(right, width - 2 * pad, scale)
        taken = GLYPH_WIDTH * scale * (len(right) + 1)
        write(strip, right, pad, width - pad - GLYPH_WIDTH * scale * len(right), MUTED, scale)
    write(strip, fit(text, width - 2 * pad - taken, scale), pad, pad, color, scale)
    return np.concatenate([flatten(picture), strip])


def join(pictures: Sequence[np.ndarray], axis: int = 1, gap: int = 0, color: Color = BACKGROUND) -> np.ndarray:
    """Pictures side by side (`axis=1`) or one below another (`axis=0`), smaller ones padded with `color`."""
    pictures = [flatten(picture) for picture in pictures]
    across = 1 - axis
    size = max(picture.shape[across] for picture in pictures)
    parts: list[np.ndarray] = []
    for i, picture in enumerate(pictures):
        if i and gap:
            parts.append(canvas(gap, size, color) if axis == 0 else canvas(size, gap, color))
        height, width = picture.shape[:2]
        parts.append(pad(picture, size if axis == 1 else height, size if axis == 0 else width, color))
    return np.concatenate(parts, axis=axis)


def pad(picture: np.ndarray, height: int, width: int, color: Color = BACKGROUND) -> np.ndarray:
    """`picture` centred on a canvas of at least its own size."""
    height, width = max(height, picture.shape[0]), max(width, picture.shape[1])
    if (height, width) == picture.shape[:2]:
        return flatten(picture)
    return paste(canvas(height, width, color), flatten(picture), (height - picture.shape[0]) // 2, (width - picture.shape[1]) // 2)


def even(picture: np.ndarray, multiple: int = 2) -> np.ndarray:
    """`picture` padded at the right and bottom so that both sides divide by `multiple` (video encoders want even sides)."""
    height, width = picture.shape[:2]
    more = (-height % multiple, -width % multiple)
    return flatten(picture) if more == (0, 0) else np.pad(flatten(picture), ((0, more[0]), (0, more[1]), (0, 0)), mode="edge")
