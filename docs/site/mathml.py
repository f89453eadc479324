"""Equations as MathML, which browsers set themselves: no script and nothing to load."""

import re

from docutils.nodes import SkipNode
from latex2mathml.converter import convert

# LaTeX sets a thin space between log and x, and none between log and (x).
SPACED = re.compile(r"(\\(?:log|sin|cos|exp)(?![a-zA-Z]))\s*(?=[\w\\])(?!\\(?:[bB]ig|left|[,;]))")


def mathml(latex: str, display: str = "inline") -> str:
    latex = SPACED.sub(r"\1\,", latex.replace(r"\arg", r"\operatorname{arg}\,"))
    return convert(latex, display=display)


def inline(page, node):
    page.body.append(mathml(node.astext()))
    raise SkipNode


def block(page, node):
    page.body.append(f'<div class="math">{mathml(node.astext(), "block")}</div>\n')
    raise SkipNode


def setup(app):
    app.add_html_math_renderer("mathml", (inline, None), (block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
