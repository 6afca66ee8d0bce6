import numpy as np
import pytest

from envs.core import rendering as draw

GRASS = draw.sprite(["gG", "Gg"], {"g": (80, 160, 70), "G": (60, 130, 60)})
HOLE = draw.sprite([" k", "k "], {"k": (0, 0, 0)})


def test_sprite_pixels_and_transparency():
    assert GRASS.shape == (2, 2, 4) and GRASS.dtype == np.uint8
    assert GRASS[0, 0].tolist() == [80, 160, 70, 255]
    assert HOLE[..., 3].tolist() == [[0, 255], [255, 0]]
    with pytest.raises(ValueError, match="same length"):
        draw.sprite(["ab", "a"], {"a": (0, 0, 0), "b": (0, 0, 0)})
    with pytest.raises(ValueError, match="'z'.*known: a"):
        draw.sprite(["az"], {"a": (0, 0, 0)})


def test_grid_places_every_tile():
    red, blue = np.full((2, 2, 3), (255, 0, 0), np.uint8), np.full((2, 2, 3), (0, 0, 255), np.uint8)
    out = draw.grid(np.array([[0, 1, 1], [1, 0, 0]]), np.stack([red, blue]), scale=3)
    assert out.shape == (12, 18, 3)
    assert out[0, 0].tolist() == [255, 0, 0] and out[0, 6].tolist() == [0, 0, 255] and out[6, 0].tolist() == [0, 0, 255]
    with pytest.raises(ValueError, match=r"\[0, 2\)"):
        draw.grid(np.array([[2]]), np.stack([red, blue]))


def test_paste_blends_and_cuts():
    picture = draw.canvas(3, 3, (10, 20, 30))
    draw.paste(picture, HOLE, 2, 2)
    assert picture[2, 2].tolist() == [10, 20, 30]
    draw.paste(picture, HOLE, -1, -1)
    assert picture[0, 0].tolist() == [10, 20, 30], "the transparent corner of the sprite"
    draw.paste(picture, HOLE, 0, 0)
    assert picture[0, 1].tolist() == [0, 0, 0] and picture[1, 1].tolist() == [10, 20, 30]
    assert (draw.paste(picture.copy(), HOLE, 9, 9) == picture).all()
    half = np.full((1, 1, 4), (200, 200, 200, 128), np.uint8)
    assert abs(int(draw.flatten(half, (0, 0, 0))[0, 0, 0]) - 100) <= 1


def test_text_is_cut_and_shortened():
    picture = draw.canvas(11, 30)
    draw.write(picture, "taskloom", 0, 0, (255, 255, 255))
    assert (picture == 255).any() and picture.shape == (11, 30, 3)
    assert draw.fit("taskloom", 100) == "taskloom" and draw.fit("taskloom", 36) == "task.."
    assert draw.text_mask("iron").sum() != draw.text_mask("gold").sum() or (draw.text_mask("iron") != draw.text_mask("gold")).any()
    assert draw.text_mask("größe ✓").any()


def test_frames_for_video():
    picture = draw.canvas(7, 61)
    framed = draw.caption(picture, "iron_pickaxe", right="12")
    assert framed.shape[1] == 61 and framed.shape[0] > 7 and (framed[7:] != framed[7, 0]).any()
    even = draw.even(framed)
    assert even.shape[0] % 2 == 0 and even.shape[1] == 62
    assert draw.even(picture, 16).shape == (16, 64, 3)
    joined = draw.join([draw.canvas(4, 3), draw.canvas(6, 2)], gap=1)
    assert joined.shape == (6, 6, 3)
    assert draw.join([draw.canvas(4, 3), draw.canvas(6, 2)], axis=0).shape == (10, 3, 3)
    assert draw.bar(2, 10, 0.5).reshape(-1, 3)[:, 1].tolist().count(draw.ACCENT[1]) == 10
    panel = draw.panel(["one", ("two", draw.MUTED)], 60)
    assert panel.shape[1] == 60 and (panel == draw.MUTED).all(-1).any()
