#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Draws what a terminal shows: text with ANSI colours on stdin to an SVG on stdout.

usage: script -qec 'dynamicfs status' /dev/null | tools/terminal-svg.py > docs/img/status.svg
"""

import re
import sys
from xml.sax.saxutils import escape

COLOURS = {"31": "#f07178", "32": "#a5d66c", "33": "#ffcb6b"}
PLAIN, DIM, BACK = "#d6deeb", "#7f8c98", "#1b2430"
CHAR, LINE, PAD, SIZE = 8.43, 20, 18, 14
CODE = re.compile(r"\x1b\[([0-9;]*)m")


def spans(line, style):
    """Yields (column, text, colour, bold); style is kept from line to line."""
    column = 0
    for i, part in enumerate(CODE.split(line)):
        if i % 2 == 0:
            if part:
                yield column, part, style["colour"], style["bold"]
            column += len(part)
            continue
        for code in part.split(";"):
            if code in ("", "0"):
                style.update(colour=PLAIN, bold=False)
            elif code == "1":
                style["bold"] = True
            elif code == "2":
                style["colour"] = DIM
            else:
                style["colour"] = COLOURS.get(code, style["colour"])


def main():
    text = sys.stdin.read().replace("\r", "").expandtabs(8).rstrip("\n")
    lines = text.split("\n")
    width = max(len(CODE.sub("", line)) for line in lines) * CHAR + 2 * PAD
    height = len(lines) * LINE + 2 * PAD
    print(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height}" '
        f'viewBox="0 0 {width:.0f} {height}">'
    )
    print(f'<rect width="100%" height="100%" rx="8" fill="{BACK}"/>')
    print(
        f'<g font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, DejaVu Sans Mono, monospace" '
        f'font-size="{SIZE}" xml:space="preserve">'
    )
    style = {"colour": PLAIN, "bold": False}
    for row, line in enumerate(lines):
        y = PAD + row * LINE + SIZE
        for column, part, colour, bold in spans(line, style):
            if not part.strip():
                continue
            weight = ' font-weight="bold"' if bold else ""
            print(
                f'<text x="{PAD + column * CHAR:.1f}" y="{y}" fill="{colour}"{weight} '
                f'textLength="{len(part) * CHAR:.1f}">{escape(part)}</text>'
            )
    print("</g>\n</svg>")


main()
