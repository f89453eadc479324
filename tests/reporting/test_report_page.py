import csv
import html
import io
import json
import re
import shutil
import subprocess

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from hume_turtle.reporting import report_page
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
  out.one_class = count();
  set(document.getElementById("which"), "least", "change");
  out.first = document.querySelector("#results .name").textContent;
  document.querySelector("#results button").click();
  out.detail = document.querySelector("#detail .name").textContent;
  const page = Bokeh.documents.find((one) => one.get_model_by_name("rows"));
  out.on_map = page.get_model_by_name("filter").indices;
  out.labels = page.get_model_by_name("names").data.text;
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
            "dip": [np.nan, 0.1, np.nan],
            "agreement": [np.nan] * 3,
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
    truth = report_page._truth(sample(6, true=np.array([4, 9, 9, 4, 9, 9])))
    assert (truth["names"], truth["found"][2:]) == (["4", "9"], [2])
    assert truth["counts"] == [[2, 0, 0], [0, 2, 2]]
    few = report_page._truth(sample(6, n_classes=1, true=np.array([0, 0, 0, 0, 1, 1])))
    assert few["matched"] == [0, None]


def test_the_curve_shows_what_is_known(page):
    curve = block(page, "report")["curve"]
    assert curve["columns"] == ["n_classes", "unexplained", "dip"]
    assert curve["rows"] == [[2, 0.5, None], [3, 0.25, 0.1], [40, 0.5, None]]
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
    assert "'unsafe-inline'" not in re.findall("script-src [^;]*", policy)[0]
    markup = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    assert not re.findall(r"(?:src|href)\s*=\s*[\"']?[^#\"']|@import|url\(", markup)
    own = (report_page.PAGE / "page.js").read_text(encoding="utf-8")
    assert not re.findall(r"https?:|innerHTML|insertAdjacentHTML|document\.write|fetch\(", own)


def test_the_number_and_size_of_thumbnails_is_bounded(monkeypatch, tmp_path):
    monkeypatch.setattr(report_page, "THUMBNAILS", 20)
    report = block(written(tmp_path, full(60)), "report")
    assert len(report["thumbnails"]) == 20
    shown = {row for card in report["classes"] for row in card["best"] + card["worst"]}
    assert {str(row) for row in shown} <= set(report["thumbnails"])  # those of the cards first
    monkeypatch.setattr(report_page, "THUMBNAIL_BYTES", 3000)
    files = block(written(tmp_path, full(60)), "report")["thumbnails"].values()
    assert sum(map(len, list(files)[:-1])) < 3000


def test_every_readable_image_of_a_small_folder_is_embedded(page):
    thumbnails = block(page, "report")["thumbnails"]
    assert {int(row) for row in thumbnails} == set(range(2, 40))


def test_columns_are_rounded_and_packed(page):
    packed = block(page, "report")["columns"]["confidence"]
    values = np.frombuffer(report_page.base64.b64decode(packed["data"]), "<u2")
    np.testing.assert_allclose(values / report_page.STEPS, np.linspace(0.5, 1, 40), atol=6e-5)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_few_rows(tmp_path, n):
    for images in (None, Noise(n), Noise(n, damaged=range(n))):
        report = sample(n, n_classes=min(n, 3), images=images, points=np.zeros((n, 2)))
        cards = block(written(tmp_path, report), "report")["classes"]
        assert sum(card["size"] for card in cards) == n


def test_a_report_needs_as_many_of_everything():
    with pytest.raises(ValueError, match="40 labels, but names has 39"):
        sample(names=["a"] * 39)
    with pytest.raises(ValueError, match="one is needed"):
        sample(0, by_space=np.zeros((2, 0)))


def test_ticks_are_far_enough_apart():
    ticks = report_page._ticks(list(range(2, 101)), "log")
    assert ticks[0] == 2
    assert 8 <= len(ticks) <= 13
    assert report_page._ticks([5], "linear") == [5]


def test_colours_are_distinct():
    assert len(set(report_page.PALETTE)) == len(report_page.PALETTE) == 40


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
    assert out["one_class"] == "13 of 40 images"
    assert out["first"] == out["detail"] == EVIL[1]  # row 1, the least confident of class 1
    assert out["on_map"] == list(range(1, 40, 3))
    assert out["labels"] == ['0 =cats, "big"', "1", "2"]
    assert (out["ring"], out["all"], out["found"]) == (1, "40 images", "1 of 40 images")
    header, *rows = csv.reader(io.StringIO(out["csv"]))
    assert header == ["file", "class", "name", "mixed", "confidence", "second"]
    assert len(rows) == 40
    assert rows[0] == [EVIL[0], "0", '\'=cats, "big"', "yes", "0.5", "1"]
    assert rows[1][:4] == [EVIL[1], "1", "class 1", "no"]
    assert rows[2][0] == "'=1+1.jpg"
    assert rows[3][0] == EVIL[3]
    assert rows[4][0] == "ä\ufffd"
