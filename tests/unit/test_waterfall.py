"""A waterfall as a file: one bar for each row where it begins, and text as text."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from superimap.charts import waterfall
from superimap.charts.waterfall import Row

SVG = "{http://www.w3.org/2000/svg}"


def test_each_row_has_a_bar_where_it_begins_and_as_long_as_it_takes():
    rows = [Row("mail", 0, 2), Row("<attempt>", 1, 0.5, "bad", depth=1, note="500"), Row("moment", 2, 0)]

    chart = waterfall.waterfall(rows, label='A "trace"')

    drawn = ElementTree.fromstring(waterfall.as_file(chart))
    bars = drawn.findall(f"{SVG}g")
    whole, attempt, moment = [re.findall(r"-?[\d.]+", bar.find(f"{SVG}path").get("d")) for bar in bars]
    left, width = float(whole[0]), float(whole[2])
    assert float(attempt[0]) == left + width / 2
    assert float(attempt[2]) == width / 4
    assert float(moment[2]) == waterfall.LEAST_WIDTH_UNITS
    assert bars[1].find(f"{SVG}path").get("class") == "bad"
    assert [text.text for text in bars[1].findall(f"{SVG}text")] == ["<attempt> 500", "500 ms"]
    assert drawn.get("aria-label") == 'A "trace"'
    assert chart.rows[1] == ("<attempt>", "1.000 s", "0.500 s", "500")


def test_nothing_is_drawn_as_nothing():
    chart = waterfall.waterfall([], label="Nothing")

    assert chart.is_empty
    ElementTree.fromstring(waterfall.as_file(chart))
