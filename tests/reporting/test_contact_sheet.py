import numpy as np
import pytest
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from hume_turtle.reporting.contact_sheet import (
    Grid,
    OpenedFiles,
    by_confidence,
    contact_sheet,
    extremes,
    first_readable,
    thumbnail,
)


class Plain:
    """Images of one colour each, the red of which is their row; made on access."""

    def __init__(self, n: int, size=(32, 32), damaged=()):
        self.n, self.size, self.damaged, self.read = n, size, set(damaged), []

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, row: int):
        self.read.append(row)
        if row in self.damaged:
            raise OSError("image file is truncated")
        return Image.new("RGB", self.size, (row, 200, 0))


def tiles(sheet: Image.Image, grid: Grid, line: int) -> list[int | None]:
    """The rows whose images stand on a line of the sheet; None for an empty place."""
    top = grid.margin + grid.text + line * grid.row + grid.text + grid.tile // 2
    columns = range(grid.best + grid.worst)
    colours = [sheet.getpixel((grid.left(c) + grid.tile // 2, top)) for c in columns]
    return [red if green == 200 else None for red, green, _ in colours]


def test_the_most_and_the_least_confident_of_each_class():
    labels = np.array([0, 1] * 6)
    confidence = np.linspace(0, 1, 12)
    sheet = contact_sheet(Plain(12), labels, confidence, best=3, worst=2)
    grid = Grid(3, 2, 96)
    assert tiles(sheet, grid, 0) == [10, 8, 6, 2, 0]
    assert tiles(sheet, grid, 1) == [11, 9, 7, 3, 1]
    assert sheet.width == grid.width
    assert np.asarray(sheet)[grid.margin + grid.text + 4 :, : grid.width // 2].min() < 60  # text


def test_unreadable_images_are_skipped():
    labels, confidence = np.zeros(8, int), np.linspace(1, 0, 8)
    sheet = contact_sheet(Plain(8, damaged=(0, 2, 7)), labels, confidence, best=3, worst=2)
    assert tiles(sheet, Grid(3, 2, 96), 0) == [1, 3, 4, 5, 6]


def test_no_image_appears_twice_in_a_small_class():
    sheet = contact_sheet(Plain(4), np.zeros(4, int), np.array([0.9, 0.8, 0.7, 0.6]), best=3)
    assert tiles(sheet, Grid(3, 4, 96), 0) == [0, 1, 2, None, None, None, 3]
    alone = contact_sheet(Plain(1), np.zeros(1, int), np.ones(1), best=2, worst=1)
    assert tiles(alone, Grid(2, 1, 96), 0) == [0, None, None]


def test_of_many_classes_the_largest_are_shown():
    labels = np.array([0, 5, 5, 7, 7])
    sheet = contact_sheet(Plain(5), labels, np.ones(5), best=2, worst=0, max_classes=2)
    grid = Grid(2, 0, 96)
    assert [tiles(sheet, grid, line) for line in (0, 1)] == [[1, 2], [3, 4]]
    assert sheet.height == 2 * grid.margin + 2 * grid.text + 2 * grid.row


def test_only_the_images_that_are_shown_are_read():
    images = Plain(250)
    contact_sheet(images, np.zeros(250, int), np.linspace(0, 1, 250), best=4, worst=2)
    assert sorted(images.read) == [0, 1, 246, 247, 248, 249]


def test_extremes_keep_the_order_of_the_rows():
    order = by_confidence(np.array([1, 0, 1, 1]), np.array([0.2, 0.9, 0.8, 0.5]), 1)
    assert order.tolist() == [2, 3, 0]
    most, least = extremes(Plain(4), order, 1, 2, 16)
    assert [row for row, _ in most] == [2]
    assert [row for row, _ in least] == [3, 0]
    assert first_readable(Plain(4, damaged=range(4)), order, 2, 16) == []


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F"])
def test_thumbnails_of_every_mode(mode):
    image = Image.new("L", (300, 150), 90).convert("I" if mode == "I;16" else mode)
    image = image.convert(mode)
    small = thumbnail([image], 0, 96)
    assert (small.mode, small.size) == ("RGB", (96, 48))
    assert image.size == (300, 150)  # the caller's image is left alone


def test_thumbnails_are_not_enlarged_and_stand_on_white():
    assert thumbnail([Image.new("RGB", (32, 20))], 0, 96).size == (32, 20)
    clear = thumbnail([Image.new("RGBA", (4, 4), (255, 0, 0, 0))], 0, 96)
    assert clear.getpixel((0, 0)) == (255, 255, 255)


def test_a_large_photograph_is_decoded_small_and_turned_as_its_camera_noted(tmp_path, monkeypatch):
    exif = Image.Exif()
    exif[0x0112] = 6  # the top of the picture is at the right
    Image.new("RGB", (1600, 800), (7, 200, 0)).save(tmp_path / "a.jpg", exif=exif, quality=100)
    sizes, load = [], JpegImageFile.load
    monkeypatch.setattr(
        JpegImageFile, "load", lambda file: (sizes.append(file.size), load(file))[1]
    )
    images = OpenedFiles([tmp_path / "a.jpg"])
    assert thumbnail(images, 0, 96).size == (48, 96)
    sheet, grid = (
        contact_sheet(images, np.zeros(1, int), np.ones(1), best=1, worst=0),
        Grid(1, 0, 96),
    )
    assert set(sizes) == {(400, 200)}
    left, top = grid.left(0), grid.margin + 2 * grid.text
    assert sheet.getpixel((left + 4, top + 48)) == (242, 242, 242)  # beside it
    assert sheet.getpixel((left + 48, top + 4)) != (242, 242, 242)
