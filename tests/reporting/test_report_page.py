import base64
import csv
import html
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from hume_turtle.reporting import report_map, report_page
from hume_turtle.reporting.contact_sheet import OpenedFiles
from hume_turtle.reporting.report_page import Report, write_report

EVIL = [
    "<img src=x onerror=alert(1)>.jpg",
    "</script><b>",
    "=1+1.jpg",
    'a"b,c\u2028.jpg',
    "ä\udcff",
]
# What a reader does, and what it leads to, written where the dump of the page shows it.
DRIVE = """
const set = (element, value, kind) => {
  element.value = value;
  element.dispatchEvent(new Event(kind));
};
const out = {};
URL.createObjectURL = (blob) => {
  blob.text().then((text) => {
    out.csv = text;
    document.body.append(Object.assign(document.createElement("pre"),
      { id: "out", textContent: JSON.stringify(out) }));
  });
  return "#";
};
setTimeout(() => {
  const count = () => document.getElementById("count").textContent;
  set(document.querySelector("#cards input[type=text]"), "=cats, \\"big\\"", "input");
  document.querySelector("#cards input[type=checkbox]").click();
  set(document.getElementById("class"), "1", "change");
  out.state = document.getElementById("state").textContent;
  out.one_class = count();
  set(document.getElementById("which"), "least", "change");
  out.first = document.querySelector("#results .name").textContent;
  document.querySelector("#results button").click();
  out.detail = document.querySelector("#detail .name").textContent;
  const page = Bokeh.documents.find((one) => one.get_model_by_name("rows"));
  out.on_map = page.get_model_by_name("filter").indices;
  out.labels = page.get_model_by_name("names").data.text;
  document.querySelector("#detail .where").click();
  const { start, end, tags } = page.get_model_by_name("across");
  out.part = (end - start) / tags[0];
  out.ring = page.get_model_by_name("chosen").data.x.length;
  document.getElementById("clear").click();
  out.all = count();
  set(document.getElementById("search"), "ONERROR", "input");
  setTimeout(() => {
    out.found = count();
    document.getElementById("save").click();
  }, 500);
}, 1500);
"""


class Noise:
    """Photographs of noise; some rows are damaged."""

    def __init__(self, n: int, damaged=()):
        self.n, self.damaged = n, damaged

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, row: int):
        if row in self.damaged:
            raise OSError("image file is truncated")
        pixels = np.random.default_rng(row).integers(0, 255, (60, 80, 3), np.uint8)
        return Image.fromarray(pixels)


def sample(n: int = 40, n_classes: int = 3, **changes) -> Report:
    """A report of n rows; the names are dangerous, as far as there are such."""
    rng = np.random.default_rng(0)
    labels = np.arange(n) % n_classes
    settings = {
        "title": "Found <b>",
        "names": [*EVIL, *(f"folder/{row}.jpg" for row in range(n))][:n],
        "labels": labels,
        "confidence": np.linspace(0.5, 1, n),
        "second": (labels + 1) % n_classes,
        "by_space": np.stack([labels, np.zeros(n, int)]),
        "space_names": ["one", "<two>"],
        "points": rng.normal(size=(n, 2)),
        "facts": {"seed": "0 & <1>"},
        "notes": ["Three classes are <certain>."],
    }
    return Report(**{**settings, **changes})


def full(n: int = 40) -> Report:
    """A report with everything."""
    curve = pd.DataFrame(
        {
            "n_classes": [2, 3, 40],
            "unexplained": [0.5, 0.25, 0.5],
            "dip": [-0.25, 0.125, 0.0],
            "agreement": [0.5, 1.0, 0.25],
        }
    )
    return sample(
        n,
        images=Noise(n, damaged=(0, 1)),
        curve=curve,
        chosen=3,
        true=(np.arange(n) + 1) % 3,
        class_names=["cat", "<dog>", "cow"],
    )


def written(path, report: Report) -> str:
    write_report(path / "report.html", report)
    return (path / "report.html").read_text(encoding="utf-8")


def block(page: str, name: str) -> dict:
    """The data of a script block."""
    (text,) = re.findall(f'<script type="application/json" id="{name}">(.*?)</script>', page)
    return json.loads(text)


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> str:
    return written(tmp_path_factory.mktemp("report"), full())


def test_cards_of_the_classes(page):
    cards = block(page, "report")["classes"]
    assert [(card["id"], card["size"]) for card in cards] == [(0, 14), (1, 13), (2, 13)]
    first, second, _ = cards
    assert first["best"] == list(range(39, 3, -3))
    assert first["worst"] == [3]  # row 0 is damaged, and no image is shown twice
    assert first["share"] == pytest.approx(14 / 40)
    assert first["confidence"] == pytest.approx(np.linspace(0.5, 1, 40)[::3].mean())
    assert (first["agreement"], second["agreement"]) == (1, 0.5)
    assert second["truth"] == [["cow", 1]]


def test_the_matching_to_true_classes(page):
    truth = block(page, "report")["truth"]
    assert truth["names"] == ["cat", "<dog>", "cow"]
    assert truth["found"] == truth["matched"] == [2, 0, 1]
    assert truth["counts"] == [[13, 0, 0], [0, 14, 0], [0, 0, 13]]
    assert dict(truth["scores"]) == {"cluster accuracy": 1, "ARI": 1, "NMI": 1}


def test_found_classes_without_a_true_one_come_last():
    true = {"true": np.array([0, 2, 2, 0, 2, 2]), "class_names": ["cat", "dog", "cow"]}
    truth = report_page._truth(sample(6, **true))
    assert (truth["names"], truth["found"].tolist()) == (["cat", "cow"], [0, 1, 2])
    assert truth["counts"].tolist() == [[2, 0, 0], [0, 2, 2]]
    few = report_page._truth(sample(6, n_classes=1, **{**true, "true": np.arange(6) // 4}))
    assert few["matched"] == [0, None]


def test_the_curve(page):
    curve = block(page, "report")["curve"]
    assert curve["columns"] == ["classes", "unexplained", "dip", "agreement"]
    assert curve["rows"] == [[2, 0.5, -0.25, 0.5], [3, 0.25, 0.125, 1], [40, 0.5, 0, 0.25]]
    assert "curve" in block(page, "plots")


def test_names_are_text_and_stay_what_they_are(page):
    assert block(page, "report")["names"][:5] == [*EVIL[:4], "ä\ufffd"]
    body = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)  # the page's own scripts
    for name in (*EVIL[:2], EVIL[3], "<certain>", "<two>", "<dog>", "Found <b>"):
        assert name not in body
    assert len(re.findall("</script", page)) == 4


def test_nothing_is_asked_of_any_host(page):
    (policy,) = re.findall('http-equiv="Content-Security-Policy" content="(.*?)"', page)
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert "unsafe" not in re.findall("script-src [^;]*", policy)[0]
    markup = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert not re.findall(r"(?:src|href)\s*=\s*[\"']?[^#\"']|@import|url\(", markup)
    own = (report_page.PAGE / "page.js").read_text(encoding="utf-8")
    assert not re.findall(r"https?:|innerHTML|insertAdjacentHTML|document\.write|fetch\(", own)


def test_the_number_of_thumbnails_is_bounded(monkeypatch, tmp_path):
    monkeypatch.setattr(report_page, "THUMBNAILS", 20)
    report = block(written(tmp_path, sample(60, images=Noise(60))), "report")
    assert len(report["thumbnails"]) == 20
    shown = {row for card in report["classes"] for row in card["best"] + card["worst"]}
    assert {str(row) for row in shown} <= set(report["thumbnails"])  # those of the cards too


def test_every_readable_image_of_a_small_folder_is_embedded(page):
    thumbnails = block(page, "report")["thumbnails"]
    assert {int(row) for row in thumbnails} == set(range(2, 40))


def test_columns(page):
    columns = block(page, "report")["columns"]
    np.testing.assert_allclose(columns["confidence"], np.linspace(0.5, 1, 40), atol=6e-5)
    assert columns["spaces"] == [columns["label"], [0] * 40]


def test_large_photographs_are_decoded_small_and_turned(tmp_path, monkeypatch):
    exif = Image.Exif()
    exif[0x0112] = 6  # the top of the picture is at the right
    Image.new("RGB", (1600, 800)).save(tmp_path / "a.jpg", exif=exif)
    sizes, load = [], JpegImageFile.load
    monkeypatch.setattr(
        JpegImageFile, "load", lambda file: (sizes.append(file.size), load(file))[1]
    )
    report = sample(1, n_classes=1, images=OpenedFiles([tmp_path / "a.jpg"]))
    files = block(written(tmp_path, report), "report")["thumbnails"]
    assert set(sizes) == {(400, 200)}
    assert Image.open(io.BytesIO(base64.b64decode(files["0"]))).size == (48, 96)


def test_the_same_report_is_the_same_bytes(page, tmp_path):
    assert written(tmp_path, full()) == page
    code = "import sys; from tests.reporting.test_report_page import *; "
    code += "write_report(sys.argv[1], full())"
    other, root = tmp_path / "other.html", Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code, other], check=True, cwd=root)
    assert other.read_text(encoding="utf-8") == page


@pytest.mark.parametrize("n", [1, 2, 5])
def test_few_rows(tmp_path, n):
    for images in (None, Noise(n), Noise(n, damaged=range(n))):
        report = sample(n, n_classes=min(n, 3), images=images, points=np.zeros((n, 2)))
        cards = block(written(tmp_path, report), "report")["classes"]
        assert sum(card["size"] for card in cards) == n


def test_a_report_needs_as_many_of_everything():
    with pytest.raises(ValueError, match="names has 39 rows, labels 40"):
        sample(names=["a"] * 39)


def test_colours_are_distinct():
    assert len(set(report_map.PALETTE)) == len(report_map.PALETTE) == 40


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    """`opened(page)`: what headless Chromium makes of a page, and what its console says."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("needs chromium")
    quiet = "no-sandbox disable-gpu no-first-run disable-background-networking disable-sync"
    options = [f"--{name}" for name in f"headless {quiet} disable-component-update".split()]

    def open_page(text: str) -> tuple[str, list[str]]:
        folder = tmp_path_factory.mktemp("chromium")
        (folder / "page.html").write_text(text, encoding="utf-8")
        options_here = [*options, f"--user-data-dir={folder / 'user'}", "--enable-logging=stderr"]
        run = subprocess.run(
            [
                chromium,
                *options_here,
                "--virtual-time-budget=6000",
                "--dump-dom",
                folder / "page.html",
            ],
            capture_output=True,
            text=True,
            check=True,
        )
        console = [line for line in run.stderr.splitlines() if "CONSOLE" in line]
        return run.stdout, [line for line in console if "setting log level" not in line]

    return open_page


def test_the_page_runs_under_its_policy(page, opened):
    dom, console = opened(page)
    assert console == []
    assert dom.count('<article class="card"') == 3
    assert 'class="bk-Figure"' in dom  # the map was drawn
    assert "40 images" in dom
    assert '<h1 id="title">Found &lt;b&gt;</h1>' in dom
    assert "<img src=x" not in dom
    assert html.escape(EVIL[1]) in dom
    for source in re.findall(r'<img[^>]* src="(.{11})', dom):
        assert source == "data:image/"


def test_what_a_reader_does(page, opened):
    policy = re.search("<meta http-equiv=.*?>", page)[0]
    driven = page.replace(policy, "").replace("</body>", f"<script>{DRIVE}</script></body>")
    dom, console = opened(driven)
    assert console == []
    out = json.loads(html.unescape(re.search('<pre id="out">(.*?)</pre>', dom)[1]))
    assert out["state"] == "Names are kept in this browser."
    assert out["one_class"] == "13 of 40 images"
    assert out["first"] == out["detail"] == EVIL[1]  # row 1, the least confident of class 1
    assert out["on_map"] == list(range(1, 40, 3))
    assert out["labels"] == ['0 =cats, "big"', "1", "2"]
    assert out["part"] == pytest.approx(0.1)
    assert (out["ring"], out["all"], out["found"]) == (1, "40 images", "1 of 40 images")
    header, *rows = csv.reader(io.StringIO(out["csv"]))
    assert header == ["file", "class", "name", "mixed", "confidence", "second"]
    assert len(rows) == 40
    assert rows[0] == [EVIL[0], "0", '\'=cats, "big"', "yes", "0.5", "1"]
    assert rows[1][:4] == [EVIL[1], "1", "class 1", "no"]
    assert rows[2][0] == "'=1+1.jpg"
    assert rows[3][0] == EVIL[3]
    assert rows[4][0] == "ä\ufffd"


def test_a_browser_that_keeps_no_names_says_so(page, opened):
    refused = (
        "<script>Object.defineProperty(window, 'localStorage', { get() { throw 1; } });</script>"
    )
    policy = re.search("<meta http-equiv=.*?>", page)[0]
    dom, console = opened(page.replace(policy, refused))
    assert console == []
    assert re.search('id="state"[^>]*>This browser keeps no names: save before you leave.<', dom)
