"""Figures that a bench keeps, and the page that says what changed."""

from pathlib import Path

from bench.__main__ import find_failure
from bench.engine_sides.figures import Figure
from bench.kept import figure_file
from bench.kept.figure_file import KeptFigure
from bench.kept.page import BenchRun, render, render_figure


def test_figures_are_read_as_they_were_written(tmp_path: Path) -> None:
    figure = KeptFigure("rate", "/s", {"ours": 5.0, "stock": 2.0}, more=True, load=1.5)
    figure_file.write(tmp_path / "figures.json", [figure])
    assert figure_file.read(tmp_path / "figures.json") == [figure]


def test_a_file_that_does_not_exist_has_no_figures(tmp_path: Path) -> None:
    assert figure_file.read(tmp_path / "figures.json") == []


def test_a_value_that_is_no_number_is_left_out(tmp_path: Path) -> None:
    figure_file.write(tmp_path / "figures.json", [Figure("wait", "s", 1.0, float("inf"))])
    assert figure_file.read(tmp_path / "figures.json")[0].values == {"ours": 1.0}


def test_a_row_says_how_many_times_better_ours_is() -> None:
    """A lower cost is better, a higher rate as well."""
    cost = render_figure(KeptFigure("CPU", "ms", {"ours": 2.0, "stock": 8.0}, load=0.5), None)
    rate = render_figure(KeptFigure("rate", "/s", {"ours": 8.0, "stock": 2.0}, more=True), None)
    assert "4.0x" in cost
    assert "4.0x" in rate


def test_a_row_says_what_changed_since_the_last_run_and_under_which_load() -> None:
    before = KeptFigure("CPU", "ms", {"ours": 4.0}, load=0.5)
    row = render_figure(KeptFigure("CPU", "ms", {"ours": 2.0}, load=9.0), before)
    assert row.endswith("4.00 (0.5), 2.00x as good")
    assert "9.0" in row


def test_a_small_change_is_not_marked() -> None:
    before = KeptFigure("CPU", "ms", {"ours": 2.1}, load=0.5)
    assert render_figure(KeptFigure("CPU", "ms", {"ours": 2.0}), before).endswith("2.10 (0.5)")


def test_a_missed_target_is_marked() -> None:
    figure = KeptFigure.of(Figure("wait", "ms", 9.0, 1.0, target=5.0))
    assert render_figure(figure, None).endswith("MISSED")


def test_the_page_names_the_bench_that_failed_and_the_figures_that_are_gone() -> None:
    run = BenchRun("engine", [], [KeptFigure("wait", "ms", {"ours": 1.0})], "Ours: 5 of 6 arrived")
    page = render([run])
    assert "FAILED: Ours: 5 of 6 arrived" in page
    assert "not measured this time: wait" in page


def test_a_bench_that_ended_without_success_says_why(tmp_path: Path) -> None:
    """Its missed targets, or the last words of its output."""
    log = tmp_path / "bench.log"
    log.write_text("Traceback\nAssertionError: Ours, calm: 5 of 6 messages arrived\n\n")
    missed = KeptFigure("wait", "ms", {"ours": 9.0}, missed=True)
    assert find_failure([missed], 0, log) == ""
    assert find_failure([missed], 1, log) == "missed: wait"
    assert "5 of 6 messages arrived" in find_failure([], 1, log)
