"""The report of a run: a table worked out by hand, and what may stand in it."""

from __future__ import annotations

from pathlib import Path

from nmt.report import Row, report, result_table, write_report
from nmt.score import Score


def score(name: str, value: float, signature: str = "s:1|v:2") -> Score:
    return Score(name, value, signature)


def test_table_by_hand() -> None:
    rows = [
        Row(
            "test",
            1000,
            [
                score("BLEU", 85.126, "tok:13a"),
                score("1-GRR", 3.0),
                score("2-GRR", 1.0),
                score("AER", 12.5, "sum:corpus"),
            ],
            [score("1-GRR", 2.895), score("2-GRR", 0.0)],
        ),
        Row("long|test", 50, [score("BLEU", 5.0, "tok:zh"), score("1-GRR", 10.0), score("2-GRR", 1.0)]),
    ]
    assert result_table(rows).split("\n") == [
        "| test set   | sentences |  BLEU | 1-GRR (reference) | 2-GRR (reference) |   AER |",
        "| :--------- | --------: | ----: | ----------------: | ----------------: | ----: |",
        "| test       |      1000 | 85.13 |       3.00 / 2.90 |       1.00 / 0.00 | 12.50 |",
        "| long\\|test |        50 |  5.00 |             10.00 |              1.00 |     – |",
        "",
        "* BLEU (test): `tok:13a`",
        "* BLEU (long\\|test): `tok:zh`",
        "* 1-GRR, 2-GRR: `s:1|v:2`",
        "* AER: `sum:corpus`",
    ]


def test_reference_alone_is_not_taken_for_the_hypothesis() -> None:
    rows = [
        Row("a", 1, [score("1-GRR", 1.0)], [score("1-GRR", 2.0)]),
        Row("b", 1, [], [score("1-GRR", 3.0)]),
    ]
    table = result_table(rows).split("\n")
    assert "1.00 / 2.00" in table[2]
    assert "– / 3.00" in table[3]


def test_report_is_written_whole(tmp_path: Path) -> None:
    rows = [Row("测试", 1, [score("BLEU", 1.0)])]
    pictures = [("句子 1", Path("pictures/attention 1.png"))]
    write_report(tmp_path / "report.md", "A run", rows, notes=["One remark."], pictures=pictures)
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert text == report("A run", rows, notes=["One remark."], pictures=pictures) + "\n"
    assert text.startswith("# A run\n\n| test set |")
    assert text.endswith("\n\nOne remark.\n\n![句子 1](pictures/attention%201.png)\n")
    assert [path.name for path in tmp_path.iterdir()] == ["report.md"]
