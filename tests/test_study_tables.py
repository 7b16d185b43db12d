"""What a study tells of runs that lie there, made by hand: means, deviations, significance, and its three formats."""

from __future__ import annotations

import csv
import io
import json
import re
import statistics
from html.parser import HTMLParser
from pathlib import Path

import pytest
import sacrebleu
from runs import quiet, write_project

from nmt.errors import InputError
from nmt.study import Run, Study, is_number, load_study, runs
from nmt.study_analyses import Curve, Figure
from nmt.study_results import Findings, check, collect
from nmt.study_tables import TSV_HEADER, write_findings
from nmt.text import write_lines

STUDY = """\
recipe: project/small.yaml
grid:
  cell: {gru: [], lstm: [model.cell=lstm], rnn: [model.cell=rnn]}
  size: {8: [], 12: [model.hidden=12]}
seeds: [1, 2]
metrics: [bleu, ngrr, aer]
resamples: 200
trials: 200
"""
REFERENCES = [f"w{n} x{n} y{n} z{n} end{' now' * (n // 20)}" for n in range(40)]  # of five words and of six
# What each cell says, seed by seed: how many of the sentences are wrong.
WRONG = {"gru_8": (10, 12), "gru_12": (10, 12), "lstm_8": (35, 36), "lstm_12": (11,), "rnn_8": (9, 13)}


class Hand:
    """The study, its runs, and what stands in them."""

    def __init__(self, directory: Path) -> None:
        write_project(directory / "project")
        (directory / "study.yaml").write_text(STUDY)
        self.directory = directory
        self.study: Study = load_study(directory / "study.yaml")
        self.runs: list[Run] = runs(self.study, directory / "runs")
        for run in self.runs:
            wrong = WRONG.get(run.cell.name, ())
            if run.seed <= len(wrong):
                self.finish(run, wrong[run.seed - 1])
        failed = next(run for run in self.runs if run.cell.name == "rnn_12")
        write_lines(failed.directory.with_name("seed-1.failed"), ["training <diverged> | badly"])

    def finish(self, run: Run, wrong: int) -> None:
        texts = run.directory / "translations"
        write_lines(texts / "held-out.hyp", hypotheses(wrong))
        write_lines(texts / "held-out.ref", REFERENCES)
        write_lines(texts / "held-out.src", REFERENCES)
        end = {"event": "end", "settings": run.key, "parameters": 1234, "seconds": 60.0 * run.seed, "tokens/s": 100.0}
        write_lines(run.directory / "log.jsonl", [json.dumps({**end, "peak memory": 2**20 * 300})])

    def findings(self) -> Findings:
        return collect("study", self.study, self.runs, self.directory / "analyses", quiet)


def hypotheses(wrong: int) -> list[str]:
    return ["w w w w w" if n < wrong else line for n, line in enumerate(REFERENCES)]


@pytest.fixture(scope="module")
def hand(tmp_path_factory: pytest.TempPathFactory) -> Hand:
    return Hand(tmp_path_factory.mktemp("hand"))


@pytest.fixture(scope="module")
def findings(hand: Hand) -> Findings:
    return hand.findings()


@pytest.fixture(scope="module")
def written(hand: Hand, findings: Findings) -> dict[str, Path]:
    return {place.suffix[1:]: place for place in write_findings(findings, hand.directory / "out")[:3]}


def numbers(findings: Findings, section: int, cell: str) -> dict:
    return dict(next(line for line in findings.sections[section].lines if line.cell.name == cell).numbers)


def test_means_and_deviations_are_those_of_sacrebleu_and_the_statistics_module(findings: Findings) -> None:
    assert [section.name for section in findings.sections] == ["held-out", "cost"]
    for cell, wrong in WRONG.items():
        scores = [sacrebleu.corpus_bleu(hypotheses(one), [REFERENCES], tokenize="none").score for one in wrong]
        found = numbers(findings, 0, cell)["BLEU"]
        assert found.value == pytest.approx(statistics.fmean(scores))
        wanted = statistics.stdev(scores) if len(scores) > 1 else None
        assert found.deviation == (None if wanted is None else pytest.approx(wanted))
    cost = numbers(findings, 1, "gru_8")
    assert (cost["parameters"].value, cost["peak MiB"].value) == (1234, 300)
    assert (cost["minutes"].value, cost["minutes"].deviation) == (1.5, pytest.approx(statistics.stdev([1, 2])))


def test_only_what_the_test_set_allows_is_told(findings: Findings) -> None:
    assert [column.name for column in findings.sections[0].columns] == ["BLEU", "1-GRR", "2-GRR", "3-GRR", "4-GRR"]


def test_significance_is_against_the_first_cell(findings: Findings) -> None:
    first, same, worse, one_seed = (numbers(findings, 0, cell) for cell in ("gru_8", "gru_12", "lstm_8", "lstm_12"))
    assert first["BLEU"].p_bootstrap is first["BLEU"].p_randomisation is None
    assert same["BLEU"].p_randomisation == 1  # the very same output
    assert worse["BLEU"].p_randomisation == pytest.approx(1 / 201)  # no trial is as far apart
    assert worse["BLEU"].p_bootstrap < 0.02
    assert one_seed["BLEU"].p_randomisation is None  # outputs cannot be exchanged seed by seed
    assert one_seed["BLEU"].p_bootstrap > 0.05


def test_without_the_first_cell_nothing_is_compared(hand: Hand, tmp_path: Path) -> None:
    there = [run for run in hand.runs if run.cell.name != "gru_8"]
    found = collect("study", hand.study, there, tmp_path, quiet)
    assert all(one.p_bootstrap is None for line in found.sections[0].lines for one in line.numbers.values())
    assert numbers(found, 0, "gru_8") == {}


def test_what_is_missing_and_what_failed_is_named(findings: Findings) -> None:
    assert findings.unfinished == (
        "rnn_12 seed 1: failed: training <diverged> | badly",
        "lstm_12 seed 2: not finished",
        "rnn_12 seed 2: not finished",
    )


def test_nothing_finished_is_a_table_too(hand: Hand, tmp_path: Path) -> None:
    nowhere = runs(hand.study, tmp_path / "nowhere")
    found = collect("study", hand.study, nowhere, tmp_path, quiet)
    assert len(found.unfinished) == 12
    (section,) = found.sections
    assert not any(line.numbers for line in section.lines)
    assert all(place.exists() for place in write_findings(found, tmp_path))


def test_a_test_set_that_no_run_has(hand: Hand, tmp_path: Path) -> None:
    study = hand.study.model_copy(update={"tests": ("heldout",)})
    with pytest.raises(InputError, match='no run has a test set "heldout"; there are held-out'):
        collect("study", study, hand.runs, tmp_path, quiet)


def test_markdown(written: dict[str, Path]) -> None:
    lines = written["md"].read_text(encoding="utf-8").split("\n")
    assert lines[0] == "# study"
    table = lines[lines.index("## held-out") + 2 :]
    head = [cell.strip() for cell in table[0].strip("|").split("|")]
    assert head == ["cell", "size", "seeds", "BLEU ↑", "1-GRR ↓", "2-GRR ↓", "3-GRR ↓", "4-GRR ↓"]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:8]]
    assert [row[:3] for row in rows] == [
        ["gru", "8", "2"], ["gru", "12", "2"], ["lstm", "8", "2"], ["lstm", "12", "1/2"], ["rnn", "8", "2"],
        ["rnn", "12", "0/2"],
    ]  # fmt: skip
    assert rows[1][3].endswith("(p 1.000)")
    assert rows[2][3].endswith("(p .005)")
    assert rows[5][3:] == ["–"] * 5
    assert "* BLEU: nrefs:1|case:mixed|eff:no|tok:none" in "\n".join(lines)
    assert "* rnn_12 seed 1: failed: training <diverged> | badly" in lines
    pictures = [line for line in lines if line.startswith("![")]
    for picture in pictures:
        assert (written["md"].parent / picture.rpartition("(")[2].removesuffix(")")).stat().st_size > 1000
    assert len(pictures) == 9


def test_tsv(written: dict[str, Path], findings: Findings) -> None:
    rows = list(csv.DictReader(io.StringIO(written["tsv"].read_text()), delimiter="\t", quoting=csv.QUOTE_NONE))
    assert tuple(rows[0]) == TSV_HEADER
    worse = next(row for row in rows if (row["cell"], row["number"]) == ("lstm_8", "BLEU"))
    found = numbers(findings, 0, "lstm_8")["BLEU"]
    assert (worse["section"], worse["axes"], worse["seeds"]) == ("held-out", "cell=lstm size=8", "1,2")
    assert [float(worse[name]) for name in TSV_HEADER[5:]] == [
        found.value, found.deviation, found.low, found.high, found.p_bootstrap, found.p_randomisation,
    ]  # fmt: skip
    assert sum(row["section"] == "held-out" for row in rows) == 5 * 5


class Tables(HTMLParser):
    """Tags in their order, checked to close as they open, and the cells that are set bold."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.bold: list[str] = []
        self.text: list[str] = []
        self.pictures: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "img":
            self.pictures.append(str(dict(attrs)["src"]))
        elif tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)
        if "b" in self.open:
            self.bold.append(data)


def test_html(written: dict[str, Path]) -> None:
    found = Tables()
    found.feed(written["html"].read_text(encoding="utf-8"))
    assert found.open == []
    assert "rnn_12 seed 1: failed: training <diverged> | badly" in found.text  # escaped, or it would be a tag
    assert {one.partition(" ")[0] for one in found.bold}  # clear differences
    assert all(float(one.rpartition("(p ")[2].removesuffix(")")) < 0.05 for one in found.bold)
    assert all((written["html"].parent / picture).exists() for picture in found.pictures)
    assert len(found.pictures) == 9


def test_the_same_findings_give_the_same_bytes(hand: Hand, findings: Findings, tmp_path: Path) -> None:
    first, second = (
        {place.name: place.read_bytes() for place in write_findings(findings, tmp_path / name)} for name in "ab"
    )
    assert first == second


def test_a_plot_has_a_curve_for_each_combination_of_the_other_axes(written: dict[str, Path]) -> None:
    svg = (written["md"].parent / "study-held-out-bleu.svg").read_text()
    line = r'<g id="line2d_\d+">\s*<path d="(M [^"]*L[^"]*)" clip-path[^>]*stroke: #(\w{6}); stroke-width: 1.3'
    curves = re.findall(line, svg)
    assert sorted(colour for _, colour in curves) == ["0072b2", "d55e00"]  # rnn has one point alone


def test_names_stand_side_by_side_under_their_names(findings: Findings, tmp_path: Path) -> None:
    axis = next(axis for axis, values in findings.study.axes.items() if not all(map(is_number, values)))
    study = findings.study.model_copy(update={"along": axis, "drawn": ("BLEU",)})
    places = {
        place.suffix: place.read_text(encoding="utf-8")
        for place in write_findings(findings._replace(study=study), tmp_path)
    }
    below = places[".md"].split("## BLEU", 1)[1]
    for name in findings.study.axes[axis]:
        assert f"<!-- {name} -->" in places[".svg"]  # its label below the axis
        assert re.search(rf"^\| {name} ", below, re.M)
    assert "<!-- size 8 -->" in places[".svg"]  # a number alone would not say of what it is
    # Marks, and no line from one name to the next.
    assert not re.findall(
        r'<path d="M [^"]*L[^"]*" clip-path[^>]*stroke: #(?:0072b2|d55e00); stroke-width: 1.3; stroke-linecap',
        places[".svg"],
    )


def test_only_what_is_asked_for_is_drawn(findings: Findings, tmp_path: Path) -> None:
    study = findings.study.model_copy(update={"drawn": ("BLEU",)})
    places = write_findings(findings._replace(study=study), tmp_path)
    assert [place.name for place in places[3:]] == ["study-held-out-bleu.svg"]


def test_a_curve_of_any_name_is_a_file_beside_the_tables(findings: Findings, tmp_path: Path) -> None:
    figure = Figure("train-tokens/s", "tokens/s (train)", "updates", "tokens/s", (Curve("gru", (1, 2), (3, 4)),))
    places = write_findings(findings._replace(figures=(figure,)), tmp_path)
    assert places[-1] == tmp_path / "study-train-tokens-s.svg"
    assert "(study-train-tokens-s.svg)" in places[0].read_text(encoding="utf-8")


def test_figures_are_made_once(hand: Hand, tmp_path: Path) -> None:
    asked = load_study(hand.directory / "study.yaml", ["analyses=[{kind: metric-by-length, edges: [1, 6, 9]}]"])
    study = hand.study.model_copy(update={"analyses": asked.analyses})
    told: list[str] = []
    first = collect("study", study, hand.runs, tmp_path, told.append)
    second = collect("study", study, hand.runs, tmp_path, told.append)
    assert first.figures == second.figures
    assert told == ["metric-by-length of 5 cells"]
    (figure,) = first.figures
    assert [curve.x for curve in figure.curves] == [(5.0, 6.0)] * 5
    for place, part in enumerate((slice(0, 20), slice(20, 40))):
        scores = [
            sacrebleu.corpus_bleu(hypotheses(one)[part], [REFERENCES[part]], tokenize="none").score
            for one in WRONG["lstm_8"]
        ]
        assert figure.curves[2].y[place] == pytest.approx(statistics.fmean(scores))
        assert figure.curves[2].deviation is not None
        assert figure.curves[2].deviation[place] == pytest.approx(statistics.stdev(scores))


def test_a_figure_of_what_was_trained_again_is_made_again(tmp_path: Path) -> None:
    hand = Hand(tmp_path)
    asked = load_study(
        tmp_path / "study.yaml", ["analyses=[training-curve]", "only={cell: [rnn], size: [8]}", "seeds=[1]"]
    )
    log = next(run for run in hand.runs if str(run) == "rnn_8 seed 1").directory / "log.jsonl"
    end, losses = json.loads(log.read_text()), []
    for seconds in (60.0, 90.0):
        loss = {"event": "train", "update": 1, "loss": seconds}
        write_lines(log, [json.dumps(loss), json.dumps(end | {"seconds": seconds})])
        findings = collect("study", asked, runs(asked, hand.runs[0].directory.parent.parent), tmp_path / "kept", quiet)
        losses += [one.y for one in findings.figures[0].curves]
    assert losses == [(60.0,), (90.0,)]


def test_a_training_curve_is_the_mean_over_the_seeds_of_what_the_logs_say(tmp_path: Path) -> None:
    hand = Hand(tmp_path)
    for seed, values in ((1, [(100, 5.0), (200, 4.0), (200, 3.0), (300, 2.0)]), (2, [(100, 7.0), (200, 4.0)])):
        log = next(run for run in hand.runs if (run.cell.name, run.seed) == ("gru_8", seed)).directory / "log.jsonl"
        end = log.read_text().rstrip("\n")
        lines = [{"event": "train", "update": update, "loss": loss} for update, loss in values]
        write_lines(log, [*map(json.dumps, [*lines, {"event": "validation", "update": 100, "loss": 1.0}]), end])
    asked = load_study(tmp_path / "study.yaml", ["analyses=[training-curve]"])
    study = hand.study.model_copy(update={"analyses": asked.analyses})
    findings = collect("study", study, hand.runs, tmp_path / "analyses", quiet)
    curve = findings.figures[0].curves[0]
    # Done again after a crash, update 200 counts as it was the last time; 300 one seed alone has seen.
    assert (curve.x, curve.y) == ((100.0, 200.0), (6.0, 3.5))
    deviations = (statistics.stdev([5, 7]), statistics.stdev([3, 4]))
    assert curve.deviation == pytest.approx(deviations)
    told = [line.split("\t") for line in written_tsv(findings, tmp_path) if line.startswith("train-loss\tgru_8\t")]
    assert [(float(fields[5]), float(fields[6])) for fields in told] == [(6.0, deviations[0]), (3.5, deviations[1])]


def written_tsv(findings: Findings, directory: Path) -> list[str]:
    return next(one for one in write_findings(findings, directory) if one.suffix == ".tsv").read_text().split("\n")


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ("tests=[heldout]", 'tests: there is no test set "heldout"; there are held-out'),
        ("drawn=[bleu]", 'drawn: there is no number "bleu"; there are parameters, tokens/s, .*, BLEU, 1-GRR'),
    ],
)
def test_what_no_table_will_have_is_refused_before_the_training(hand: Hand, asked: str, sentence: str) -> None:
    study = load_study(hand.directory / "study.yaml", [asked])
    with pytest.raises(InputError, match=sentence):
        check(study, hand.runs)
    check(load_study(hand.directory / "study.yaml", ["tests=[held-out]", "drawn=[BLEU, minutes]"]), hand.runs)


def test_a_single_length_is_no_figure(hand: Hand, tmp_path: Path) -> None:
    asked = load_study(hand.directory / "study.yaml", ["analyses=[{kind: metric-by-length, edges: [1, 6]}]"])
    study = hand.study.model_copy(update={"analyses": asked.analyses})
    assert collect("study", study, hand.runs, tmp_path, quiet).figures == ()
