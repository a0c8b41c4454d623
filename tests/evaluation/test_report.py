import json
import struct

from matplotlib.figure import Figure

from nequix.evaluation.report import Report
from nequix.evaluation.task import Engine
from nequix.execution import Execution
from nequix.io.catalogue import load_weights
from tests.calculator.small import write_small


def test_a_report_holds_text_table_figure_and_origin(tmp_path):
    engine = Engine(str(write_small(tmp_path)), Execution("torch", dtype="float64"))
    identity = {"task": "toy", "settings": {"seed": 3}, "engine": engine.describe()}
    report = Report(tmp_path, "Toy")
    report.heading("Numbers")
    report.table(("name", "value"), [("a", 1.23456), ("b", None), ("c", 7)])
    figure = Figure(figsize=(1, 1))
    figure.add_subplot().plot([0, 1])
    report.figure("line", "A line.", figure)
    report.write(identity, {"a": 1.23456})
    text = (tmp_path / "report.md").read_text()
    for part in ("# Toy", "## Numbers", "| a | 1.235 |", "| b | - |", "| c | 7 |", "![A line.](line.png)"):
        assert part in text
    assert (tmp_path / "line.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert min(struct.unpack(">2I", (tmp_path / "line.png").read_bytes()[16:24])) > 50
    held = json.loads((tmp_path / "results.json").read_bytes())
    assert held["results"] == {"a": 1.23456}
    assert held["engine"]["model"]["file_sha256"] == load_weights(engine.model).digest
    assert held["engine"]["model"]["checksum"] in text
    assert held["engine"]["kernel"] == engine.calculator().kernel
    assert held["settings"] == {"seed": 3}
    assert held["versions"]["numpy"] in text
