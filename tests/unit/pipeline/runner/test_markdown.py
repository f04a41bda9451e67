from pipeline.runner.markdown import cell, inline, table


def test_columns_are_padded_and_say_how_they_are_aligned() -> None:
    lines = table(["name", "count"], [["a", "1,000"], ["longer", "2"]], right=[False, True])
    assert lines == [
        "| name   | count |",
        "| ------ | ----: |",
        "| a      | 1,000 |",
        "| longer |     2 |",
    ]


def test_a_text_can_neither_end_its_cell_nor_its_row() -> None:
    assert cell("a|b\n| c") == "a\\|b \\| c"
    assert len(table(["a|b"], [["c\nd"]], right=[False])) == 3


def test_a_text_within_a_line_is_neither_markup_nor_long() -> None:
    assert inline("a`b` <script>|\n---") == "a&#96;b&#96; &lt;script&gt;\\| ---"
    assert inline("x" * 10**6) == "x" * 200 + "…"
