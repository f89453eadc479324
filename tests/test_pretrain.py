"""Pretraining: the rendered letters, the writing, and tiny runs of both trainings."""
from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from hume_turtle import pretrain
from hume_turtle.datasets import load_dataset
from hume_turtle.pretrain import (
    CLASSES,
    LETTERS,
    LetterSettings,
    MocoSettings,
    augment,
    character_grid,
    latin_fonts,
    load_checkpoint,
    pretrain_letters,
    pretrain_moco,
    render_letters,
    save_checkpoint,
    standardise,
    write_by_hand,
)

TINY_LETTERS = {"steps": 30, "batch_size": 48, "width": 8, "dim": 32}
TINY_MOCO = {"steps": 30, "batch_size": 48, "width": 8, "memory": 96}


@pytest.fixture(scope="module")
def glyphs():
    return render_letters(latin_fonts()[:3])


@pytest.fixture(scope="module")
def images():
    return load_dataset("digits", "train").images


def same(a, b):
    return a.losses == b.losses and all(torch.equal(a.state[k], b.state[k]) for k in a.state)


def test_only_fonts_with_plain_latin_letters():
    names = {path.stem for path in latin_fonts()}
    assert {"DejaVuSans", "STIXGeneral", "cmr10"} <= names
    assert not names & {"cmsy10", "cmex10", "LastResortHE-Regular", "STIXSizOneSymReg"}


def test_exactly_the_52_letters_are_rendered_and_never_a_digit(monkeypatch):
    drawn = []
    blank = np.zeros((pretrain.GLYPH, pretrain.GLYPH), np.float32)

    def record(path, character):
        drawn.append((path, character))
        return blank

    monkeypatch.setattr(pretrain, "render_character", record)
    fonts = latin_fonts()
    render_letters(fonts)
    assert sorted(set(drawn)) == sorted((font, letter) for font in fonts for letter in LETTERS)
    assert len(LETTERS) == 52
    assert LETTERS.isalpha()
    assert LETTERS.isascii()


def test_letters_are_ink_inside_the_canvas(glyphs):
    distance, classes = glyphs
    assert distance.shape == (156, 1, pretrain.GLYPH, pretrain.GLYPH)
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
    deviations = torch.tensor([1.0, 1, 1, 1, 0])
    torch.testing.assert_close(result.std((1, 2, 3), correction=0), deviations)


def test_letters_learn_and_repeat_bit_for_bit():
    first, second = pretrain_letters(TINY_LETTERS), pretrain_letters(TINY_LETTERS)
    assert np.mean(first.losses[-5:]) < 0.85 * np.mean(first.losses[:5])
    assert same(first, second)
    assert not same(first, pretrain_letters({**TINY_LETTERS, "steps": 2}, seed=1))


def test_held_out_fonts_are_scored():
    settings = {**TINY_LETTERS, "held_out": ["DejaVuSerif", "cmti10"]}
    checkpoint = pretrain_letters(settings)
    assert 3 / 52 < checkpoint.held_out_accuracy <= 1  # well above chance
    assert pretrain_letters({**TINY_LETTERS, "steps": 1}).held_out_accuracy is None
    with pytest.raises(ValueError, match=r"no such fonts.*Comic"):
        pretrain_letters({"held_out": ["Comic"]})


def test_moco_learns_and_repeats_bit_for_bit(images):
    first, second = pretrain_moco(images, TINY_MOCO), pretrain_moco(images, TINY_MOCO)
    bank_full = TINY_MOCO["memory"] // TINY_MOCO["batch_size"]  # random keys before are easy
    assert np.mean(first.losses[-5:]) < 0.9 * np.mean(first.losses[bank_full:][:5])
    assert same(first, second)


def test_pretraining_leaves_the_global_generator_alone(images):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    pretrain_moco(images, {**TINY_MOCO, "steps": 1})
    pretrain_letters({**TINY_LETTERS, "steps": 1})
    assert torch.equal(torch.rand(3), expected)


def test_views_differ_but_keep_the_image():
    images = torch.rand(4, 3, 8, 8)
    settings, generator = MocoSettings(), torch.Generator().manual_seed(0)
    views = [augment(images, settings, generator) for _ in range(2)]
    assert not torch.equal(*views)
    names = ("rotation", "shear", "zoom", "shift", "elastic", "gain", "hue", "noise")
    still = MocoSettings(**dict.fromkeys(names, 0.0))
    torch.testing.assert_close(augment(images, still, generator), images, atol=1e-4, rtol=0)


def test_bad_input_is_refused_before_any_work(images):
    with pytest.raises(ValueError, match=r"unknown settings depth"):
        pretrain_letters({"depth": 3})
    with pytest.raises(ValueError, match=r"unknown settings depth"):
        pretrain_moco(images, {"depth": 3})
    with pytest.raises(ValueError, match=r"at least two"):
        pretrain_moco([images[0]])
    with pytest.raises(ValueError, match=r"image 1 "):
        pretrain_moco([images[0], images[0].resize((9, 8))])


def test_checkpoints_come_back_and_have_the_same_bytes(tmp_path, images):
    checkpoint = pretrain_moco(images, {**TINY_MOCO, "steps": 2})
    save_checkpoint(checkpoint, tmp_path / "a.pt")
    save_checkpoint(checkpoint, tmp_path / "b.pt")
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()
    loaded = load_checkpoint(tmp_path / "a.pt")
    assert same(loaded, checkpoint)
    assert loaded.settings == checkpoint.settings


class Payload:
    """A pickle that would run code."""

    def __reduce__(self):
        return print, ("executed",)


def test_files_that_are_no_checkpoint_are_refused(tmp_path, capsys):
    path = tmp_path / "x.pt"
    path.write_bytes(pickle.dumps(Payload(), protocol=2))
    with pytest.raises(ValueError, match=r"not a checkpoint"):
        load_checkpoint(path)
    torch.save(Payload(), path)
    with pytest.raises(ValueError, match=r"not a checkpoint"):
        load_checkpoint(path)
    torch.save({"name": "moco"}, path)
    with pytest.raises(ValueError, match=r"not a checkpoint"):
        load_checkpoint(path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"not a checkpoint"):
        load_checkpoint(path)
    assert "executed" not in capsys.readouterr().out


def test_weights_of_another_shape_are_refused(images):
    checkpoint = pretrain_moco(images, {**TINY_MOCO, "steps": 1})
    checkpoint.settings["dim"] = 32
    with pytest.raises(ValueError, match=r"do not fit"):
        checkpoint.network()
