"""Estimators that take three steps, for tests of everything but what they find."""

from hume_turtle import Hume

QUICK = {"outer_steps": 3, "inner_steps": 3}


def quick(kind, n_classes=3, **settings):
    extra = {"n_subsets": 2, "subset_size": 30} if kind is Hume else {}
    return kind(n_classes, **{**QUICK, **extra, **settings})
