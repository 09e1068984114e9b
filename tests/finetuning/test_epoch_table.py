"""The table of a training: as text, as HTML, and in a notebook while it grows."""

import io
import sys
from types import ModuleType

import pytest

from tellapart.errors import UsageError
from tellapart.finetuning.epoch_table import EpochTable, check_metric
from tellapart.finetuning.explanation import Epoch
from tellapart.finetuning.live import LiveTable, in_notebook
from tellapart.finetuning.lr_finder import Suggestions, Sweep, suggest, sweep
from tellapart.finetuning.recorder import Fit, Recorder

ROWS = [Epoch(i, 0.8 - 0.2 * i, 0.7 - 0.1 * i, 40 - 10 * i, 100, 65.4, 3e-3) for i in range(3)]


def test_a_line_is_aligned_with_the_header():
    header, *lines = str(EpochTable("error_rate", ROWS)).splitlines()
    assert header.split() == ["epoch", "train_loss", "valid_loss", "error_rate", "wrong", "time"]
    assert {len(line) for line in lines} == {len(header)}
    assert lines[1].split() == ["1", "0.600000", "0.600000", "0.300000", "30", "of", "100", "01:05"]


def test_accuracy_is_what_the_error_rate_leaves():
    table = EpochTable("accuracy", ROWS)
    assert table.header.split()[3] == "accuracy"
    assert table.line(ROWS[0]).split()[3] == "0.600000"


def test_an_unknown_metric_names_those_that_there_are():
    assert check_metric("accuracy") == "accuracy"
    with pytest.raises(UsageError, match="error_rate, accuracy"):
        check_metric("f1")


def test_html_has_a_row_per_epoch_and_is_escaped():
    shown = EpochTable("<b>", ROWS)._repr_html_()
    assert shown.count("<tr>") == 4
    assert "<td>30 of 100</td>" in shown
    assert "<b>" not in shown
    assert "&lt;b&gt;" in shown


def test_outside_a_notebook_rows_are_printed_once_each(capsys):
    with LiveTable("error_rate") as live:
        for number, row in enumerate(ROWS, 1):
            live.on_epoch(row)
            assert len(capsys.readouterr().out.splitlines()) == (2 if number == 1 else 1)
        live.progress("embed", 1, 2)
    assert capsys.readouterr().out == ""
    assert str(live.table).splitlines()[1:] == [live.table.line(row) for row in ROWS]


def test_what_is_not_to_be_shown_is_not(capsys):
    with LiveTable("error_rate", shown=False) as live:
        live.on_epoch(ROWS[0])
    assert capsys.readouterr().out == ""
    assert live.table.rows == ROWS[:1]


@pytest.fixture
def cell(monkeypatch):
    """A cell of a notebook: what was displayed in it, as HTML, and each time it was updated."""
    shown = {"displayed": [], "updated": []}

    class ZMQInteractiveShell:
        pass

    class DisplayHandle:
        def display(self, value):
            shown["displayed"].append(value._repr_html_())

        def update(self, value):
            shown["updated"].append(value._repr_html_())

    package, display = ModuleType("IPython"), ModuleType("IPython.display")
    package.get_ipython = ZMQInteractiveShell
    display.DisplayHandle = DisplayHandle
    monkeypatch.setitem(sys.modules, "IPython", package)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    return shown


def test_in_a_notebook_one_table_grows(cell, capsys):
    assert in_notebook()
    with LiveTable("error_rate") as live:
        for row in ROWS:
            live.on_epoch(row)
    assert len(cell["displayed"]) == 1
    assert [shown.count("<tr>") for shown in cell["updated"]] == [2, 3, 4, 4]
    assert capsys.readouterr().out == ""


def test_in_a_notebook_progress_stands_below_the_table_and_goes(cell):
    with LiveTable("error_rate") as live:
        live.on_epoch(ROWS[0])
        for done in range(10_000):
            live.progress("<i>embed", done, 10_000)
        live.progress("<i>embed", 10_000, 10_000)
    assert len(cell["updated"]) <= 1 + 101 + 1
    assert "&lt;i&gt;embed: 50 %" in "".join(cell["updated"])
    assert not any("<i>" in shown for shown in cell["updated"])
    assert "embed" not in cell["updated"][-1]


def test_a_failed_training_leaves_no_progress_behind(cell):
    def fail():
        with LiveTable("error_rate") as live:
            live.progress("embed", 1, 2)
            raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        fail()
    assert "embed" in cell["updated"][0]
    assert "embed" not in cell["updated"][-1]


def test_a_terminal_shell_is_no_notebook(monkeypatch):
    package = ModuleType("IPython")
    package.get_ipython = lambda: None
    monkeypatch.setitem(sys.modules, "IPython", package)
    assert not in_notebook()
    monkeypatch.delitem(sys.modules, "IPython")
    assert not in_notebook()


def test_a_real_kernel_shows_one_table():
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    code = """
from tellapart.finetuning.explanation import Epoch
from tellapart.finetuning.live import LiveTable
with LiveTable("error_rate") as live:
    for i in range(3):
        live.on_epoch(Epoch(i, 0.5, 0.4, 10, 100, 1.0, 1e-3))
"""
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])
    nbclient.NotebookClient(book, timeout=120).execute()
    (output,) = book.cells[0].outputs
    assert output.output_type == "display_data"
    assert output.data["text/html"].count("<tr>") == 4


# The recorder.


def fit(name, rows, groups=1):
    step = [0, 1, 2, 3]
    lr = [[10.0 ** -(group + i) for group in range(groups)] for i in step]
    return Fit(name, step, lr, [0.95, 0.85, 0.9, 0.95], tuple(rows))


def drawn(figure):
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def test_the_recorder_has_the_values_of_all_epochs():
    recorder = Recorder([fit("fit-1", ROWS[:2]), fit("fit-2", ROWS[2:])])
    assert recorder.values == [[row.train_loss, row.valid_loss, row.errors / 100] for row in ROWS]


def test_the_rates_of_the_last_fit_are_drawn_by_group():
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    last = fit("fit-2", ROWS[2:], groups=3)
    figure = Recorder([fit("fit-1", ROWS[:2]), last]).plot_lr()
    rates, momenta = figure.axes
    assert [line.get_ydata().tolist() for line in rates.lines] == [
        [row[group] for row in last.lr] for group in range(3)
    ]
    assert momenta.lines[0].get_ydata().tolist() == last.momentum
    assert drawn(figure).startswith(b"\x89PNG")


def test_losses_are_drawn_with_a_mark_where_a_fit_begins():
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    figure = Recorder([fit("fit-1", ROWS[:2]), fit("fit-2", ROWS[2:])]).plot_losses()
    train, valid, mark = figure.axes[0].lines
    assert train.get_ydata().tolist() == [row.train_loss for row in ROWS]
    assert valid.get_ydata().tolist() == [row.valid_loss for row in ROWS]
    assert set(mark.get_xdata()) == {2.5}
    assert drawn(figure).startswith(b"\x89PNG")


class Bowl:
    def begin(self, restart):
        self.x = 1.0

    def step(self, lr):
        loss = self.x**2
        self.x -= 2 * lr * self.x
        return loss

    def end(self):
        pass


def test_the_curve_of_the_finder_is_drawn():
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    found = sweep(Bowl(), lr_min=1e-4)
    suggestions = suggest(found)
    assert (type(found), type(suggestions)) == (Sweep, Suggestions)
    assert drawn(Recorder(found=(found, suggestions)).plot()).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("plot", "call"),
    [("plot", "lr_find"), ("plot_lr", "fit_one_cycle"), ("plot_losses", "fit_one_cycle")],
)
def test_what_is_not_there_yet_names_the_call(plot, call):
    with pytest.raises(UsageError, match=rf"learn\.{call}"):
        getattr(Recorder(), plot)()
