"""The letters network: the rendered letters, the writing, and tiny runs of the training."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hume_turtle.pretraining import letters
from hume_turtle.pretraining.checkpoints import load_checkpoint, save_checkpoint
from hume_turtle.pretraining.letters import (
    CLASSES,
    LETTERS,
    LetterSettings,
    character_grid,
    latin_fonts,
    pretrain_letters,
    render_letters,
    standardise,
    write_by_hand,
)

TINY = {"steps": 30, "batch_size": 48, "width": 8, "dim": 32, "elastic": 0.05}


@pytest.fixture(scope="module")
def glyphs():
    return render_letters(latin_fonts()[:3])


def same(a, b):
    return a.losses == b.losses and all(torch.equal(a.state[k], b.state[k]) for k in a.state)


def test_only_fonts_with_plain_latin_letters():
    names = {path.stem for path in latin_fonts()}
    assert {"DejaVuSans", "STIXGeneral", "cmr10"} <= names
    assert not names & {"cmsy10", "cmex10", "LastResortHE-Regular", "STIXSizOneSymReg"}


def test_exactly_the_52_letters_are_rendered_and_never_a_digit(monkeypatch):
    drawn = []
    blank = np.zeros((letters.GLYPH, letters.GLYPH), np.float32)

    def record(path, character):
        drawn.append((path, character))
        return blank

    monkeypatch.setattr(letters, "render_character", record)
    fonts = latin_fonts()
    render_letters(fonts)
    assert sorted(set(drawn)) == sorted((font, letter) for font in fonts for letter in LETTERS)
    assert len(LETTERS) == 52
    assert LETTERS.isalpha()
    assert LETTERS.isascii()


def test_letters_are_ink_inside_the_canvas(glyphs):
    distance, classes = glyphs
    assert distance.shape == (156, 1, letters.GLYPH, letters.GLYPH)
    edge = torch.cat([distance[..., [0, -1], :].flatten(1), distance[..., [0, -1]].flatten(1)], 1)
    assert edge.max() < 0 < distance.flatten(1).max(1).values.min()
    assert [LETTERS[c] for c in classes[:52]] == [LETTERS[c] for c in CLASSES]
    assert CLASSES[LETTERS.index("O")] == CLASSES[LETTERS.index("o")]
    assert CLASSES[LETTERS.index("A")] != CLASSES[LETTERS.index("a")]


def test_writing_is_size_normalised_like_the_digit_bitmaps(glyphs):
    generator = torch.Generator().manual_seed(0)
    written = write_by_hand(glyphs[0], LetterSettings(), generator)  # (156, 1, 8, 8)
    assert written.shape == (156, 1, 8, 8)
    assert written.min() >= 0
    assert written.max() <= 1
    assert (written[:, 0, [0, -1]].amax(2) > 0.2).float().mean() > 0.9  # top and bottom reached
    assert written[..., [0, -1]].mean() < 0.1  # the margins at the sides
    low, high = LetterSettings().ink
    ink = written.mean((1, 2, 3))
    assert ink.min() > low - 0.04
    assert ink.max() < high + 0.04
    again = write_by_hand(glyphs[0], LetterSettings(), torch.Generator().manual_seed(0))
    assert torch.equal(written, again)


def test_the_bounding_box_fills_the_character_box():
    ink = torch.zeros(1, 40, 40, dtype=torch.bool)
    ink[0, 5:15, 8:18] = True
    grid = character_grid(ink)
    picture = ink.float()[:, None]
    box = torch.nn.functional.grid_sample(picture, grid, align_corners=False)[0, 0] > 0.5
    rows, columns = box.any(1).nonzero().flatten(), box.any(0).nonzero().flatten()
    assert (rows[0], rows[-1]) == (0, 15)
    assert (columns[0], columns[-1]) == (3, 12)  # 10 pixels, centred in 16


def test_standardise():
    images = torch.rand(5, 1, 8, 8) * torch.tensor([1, 10, 0.1, 3, 0])[:, None, None, None]
    result = standardise(images)
    torch.testing.assert_close(result.mean((1, 2, 3)), torch.zeros(5), atol=1e-5, rtol=0)
    stds = torch.tensor([1.0, 1, 1, 1, 0])
    torch.testing.assert_close(result.std((1, 2, 3), correction=0), stds)


def test_letters_learn_and_repeat_bit_for_bit():
    first, second = pretrain_letters(TINY), pretrain_letters(TINY)
    assert np.mean(first.losses[-5:]) < 0.9 * np.mean(first.losses[:5])
    assert same(first, second)
    assert not same(first, pretrain_letters({**TINY, "steps": 2}, seed=1))


def test_a_letters_checkpoint_comes_back_with_all_its_networks(tmp_path):
    checkpoint = pretrain_letters({**TINY, "steps": 2, "networks": 3, "dim": 30})
    save_checkpoint(checkpoint, tmp_path / "letters.pt")
    network = load_checkpoint(tmp_path / "letters.pt").network().eval()
    images = torch.randn(4, 1, 8, 8)
    rows = network(images)  # (4, 30)
    assert rows.shape == (4, 30)
    assert torch.equal(rows, checkpoint.network().eval()(images))
    parts = rows.split(10, 1)
    assert not torch.allclose(parts[0], parts[1])  # each from its own start


def test_bad_settings_are_refused_before_any_work(monkeypatch):
    monkeypatch.setattr(letters, "render_letters", None)
    with pytest.raises(ValueError, match=r"unknown settings depth"):
        pretrain_letters({"depth": 3})
    with pytest.raises(ValueError, match=r"3 networks cannot share 128"):
        pretrain_letters({"networks": 3, "dim": 128})
    with pytest.raises(ValueError, match=r"0 networks"):
        pretrain_letters({"networks": 0})


def test_training_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    pretrain_letters({**TINY, "steps": 1})
    assert torch.equal(torch.rand(3), expected)
