"""Tables where they fit, blocks where they do not; what people copy stays in one piece."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from muster_controller.cli.layout import Cell, fields_of, lines_of, wrapped
from muster_controller.service.bench import RunOrder
from muster_controller.testing_service import ServiceLab

TITLES = ("DEVICE", "CHOSEN", "LADDER", "P95 MS", "EMULATED", "REASON")
LADDER = tuple(f"digits-with-a-long-name.v1.{name}@onnxruntime/cpu/t1" for name in ("int8-static", "narrow", "tiny"))
ROW = (
    Cell(("pi-1",)),
    Cell((LADDER[0],)),
    Cell(LADDER),
    Cell(("12.5",)),
    Cell(("-",)),
    Cell(("the latency is noisy: " + "other work ran beside the measurement, " * 3,)),
)

words = st.text(st.characters(categories=("L", "N", "P")), min_size=1, max_size=60)
cells = st.lists(st.lists(words, min_size=1, max_size=6).map(" ".join), min_size=1, max_size=3).map(
    lambda parts: Cell(tuple(parts))
)


def test_a_pipe_gets_a_table_of_whole_lines() -> None:
    head, row = lines_of(TITLES, [ROW], None)
    assert head.is_head
    assert head.text.split("  ")[0] == "DEVICE"
    assert ", ".join(LADDER) in row.text


def test_a_table_that_fits_stays_a_table() -> None:
    rows = [[Cell(("a",)), Cell(("1",))], [Cell(("bb",)), Cell(("-",))]]
    assert [line.text for line in lines_of(("DEVICE", "N"), rows, 80)] == ["DEVICE  N", "a       1", "bb      -"]


def test_a_wide_table_becomes_a_block_per_item() -> None:
    lines = lines_of(TITLES, [ROW, ROW], 80)
    texts = [line.text for line in lines]
    assert [line.text for line in lines if line.is_head] == ["pi-1", "pi-1"]
    for rung in LADDER:
        assert sum(text.strip().endswith(rung) for text in texts) >= 2  # whole, on a line of its own
    assert "  p95 ms 12.5" in texts
    assert not any("emulated" in text for text in texts)  # what is unknown is left out
    assert all(cell_len(text) <= 80 for text in texts)


@given(rows=st.lists(st.tuples(cells, cells, cells), min_size=1, max_size=3), width=st.integers(20, 120))
def test_no_word_is_lost_or_broken_and_only_a_word_that_is_too_long_goes_beyond_the_edge(rows, width) -> None:
    lines = [line.text for line in lines_of(("A", "B", "C"), rows, width)]
    found = [word for line in lines for word in line.replace(",", " ").split()]
    for row in rows:
        for cell in row:
            if cell.is_known:
                assert all(word in found for part in cell.parts for word in part.replace(",", " ").split())
    for line in lines:
        assert cell_len(line) <= width or len(line.split()) <= 2


def test_fields_of_one_item_hang_below_each_other() -> None:
    texts = [line.text for line in fields_of({"ladder": Cell(LADDER), "id": Cell(("x",))}, 80)]
    assert texts == [f"ladder  {LADDER[0]}", f"        {LADDER[1]}", f"        {LADDER[2]}", "id      x"]
    assert len(fields_of({"ladder": Cell(LADDER)}, None)) == 1


def test_wrapping_breaks_at_spaces_only() -> None:
    assert wrapped("one two three", 8, indent=2) == "one two\n  three"
    assert wrapped("x" * 30, 8) == "x" * 30
    assert wrapped("one two three", None) == "one two three"


def test_select_on_a_terminal_of_80_columns_is_readable(muster, lab: ServiceLab) -> None:
    lab.add_device("kitchen-window-pi-5")
    lab.add_model("a-model-with-a-long-name")
    model = lab.service.models.get("a-model-with-a-long-name")
    session = lab.open_session("kitchen-window-pi-5")
    (device,) = lab.service.devices.resolve(["kitchen-window-pi-5"])
    run = lab.service.bench.start(model, lab.service.models.kept(model), [device], RunOrder(threads=(1,)))
    for number, entry in enumerate(lab.service.bench.requests(run.run_id)):
        lab.answer(session, entry, 5.0 + number, sequence=number + 1)
    (lab.folder / "policy.yaml").write_text("constraints: {p95_ms: {max: 40}}\n")
    shown = on_a_terminal("select", "a-model-with-a-long-name", "--policy", "policy.yaml")
    lines = shown.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith("kitchen-window-pi-5  a-model-with-a-long-name.v1.fp")
    assert lines[0].endswith("@onnxruntime/cpu/t1")
    assert any(line.endswith("ladder  " + lines[0].split()[1]) for line in lines)  # whole, on a line of its own
    piped = muster("select", "a-model-with-a-long-name", "--policy", "policy.yaml").out.splitlines()
    assert len(piped) == 2
    assert "DEVICE" in piped[0]


def on_a_terminal(*arguments: str) -> str:
    """What ``muster`` writes to a real terminal of 80 x 24."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    env = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "LINES")}
    env |= {"NO_COLOR": "1", "TERM": "xterm"}
    command = [sys.executable, "-m", "muster_controller", *arguments]
    with subprocess.Popen(command, stdout=theirs, stderr=subprocess.PIPE, env=env) as process:
        os.close(theirs)
        shown = b""
        try:
            while chunk := os.read(ours, 65536):
                shown += chunk
        except OSError:  # the other side of a terminal is gone: EIO, not an end of file
            pass
        os.close(ours)
        assert process.stderr is not None
        said = process.stderr.read()
    if process.returncode:
        pytest.fail(said.decode())
    text = shown.decode()
    for code in ("\x1b[1m", "\x1b[0m"):
        text = text.replace(code, "")
    return text


def test_what_a_device_says_cannot_command_the_terminal() -> None:
    from muster_controller.cli.output import shown_cell

    assert shown_cell("a\x1b[2Jb\u202ec\nd").text == "a\ufffd[2Jb\ufffdc d"
