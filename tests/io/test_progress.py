"""The progress display."""

import io
import sys

import pytest

from nequix.io.progress import progress_bar


class Terminal(io.StringIO):
    """A terminal that keeps what it shows."""

    def isatty(self):
        return True


@pytest.mark.parametrize("in_bytes", [False, True])
@pytest.mark.parametrize("total", [None, 3])
def test_rows_share_one_display_and_show_their_text(monkeypatch, total, in_bytes):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    with progress_bar("outer [bold]", total, in_bytes=in_bytes, keep=True) as outer:
        outer.advance()
        with progress_bar("inner") as inner:
            inner.update("inner changed", done=1)
            inner._display.refresh()
        outer.update(done=2)
    assert outer.visible
    text = terminal.getvalue()
    assert "outer [bold]" in text
    assert "inner changed" in text
    assert ("0:00:0" in text) or ("-:--:--" in text)


def test_nothing_is_shown_elsewhere(capsys):
    with progress_bar("work", 3) as bar:
        bar.advance()
        bar.update("more", done=3)
    assert not bar.visible
    assert capsys.readouterr() == ("", "")
