"""Film strips, and sliders that stay away where nobody can move them."""

import sys

import pytest

from hume_turtle.reporting.explore import HEADLESS, explore, film_strip


def test_a_strip_has_a_panel_for_each_value(style):
    drawn = []
    figure = film_strip(lambda ax, value: drawn.append((ax, value)), [1, 2, 5], columns=2)
    assert [value for _, value in drawn] == [1, 2, 5]
    assert [ax.get_visible() for ax in figure.axes] == [True, True, True, False]


def test_a_slider_redraws_for_a_person_only(style, monkeypatch):
    ipywidgets = pytest.importorskip("ipywidgets")
    drawn = []
    monkeypatch.setenv(HEADLESS, "1")
    explore(lambda ax, value: drawn.append(value), [1, 2], "angle")
    assert drawn == []
    monkeypatch.delenv(HEADLESS)
    shown = []
    monkeypatch.setattr(ipywidgets, "interact", lambda show, value: shown.append((show, value)))
    explore(lambda ax, value: drawn.append(value), [1, 2], "angle")
    ((show, slider),) = shown
    assert (slider.options, slider.description) == ((1, 2), "angle")
    show(slider.value)
    assert drawn == [1]


def test_no_widget_is_imported_headless(monkeypatch):
    monkeypatch.setenv(HEADLESS, "1")
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    explore(lambda ax, value: None, [1], "angle")
