"""The word list finds what it should, in every kind of file, and the project keeps to it (three seconds)."""

import pytest

from tests.language import check

RULES = check.rules()
WORD = "an" + "ew"  # the first rule's; put together here, so that this file is clean


@pytest.mark.parametrize("rule", RULES, ids=[rule.pattern.pattern for rule in RULES])
def test_each_rule_finds_its_example_and_not_the_plain_version(rule):
    assert [finding.instead for finding in check.findings(rule.wrong, [rule])] == [rule.instead]
    assert check.findings(rule.right, RULES) == []


@pytest.mark.parametrize(
    ("name", "source", "lines"),
    [
        ("comment.py", "x = 1\ny = 2  # built\n# WORD\n", [3]),
        ("docstring.py", '"""Fine.\n\nBuilt\n   WORD.\n"""\n', [4]),
        ("literal.py", 'raise ValueError(\n    f"{x} is built "\n    f"WORD"\n)\n', [3]),
        ("name.py", "def test_list_is_built_WORD():\n    pass\n", [1]),
        ("code.py", "WORD = built = 1\n", []),
        ("comment.h", "int x; // built\n// WORD\n/* built WORD */\n", [2, 3]),
        ("literal.cpp", 'const char *x = "built WORD";\n', [1]),
        ("code.cpp", '#include "WORD.h"\nint WORD;\n', []),
        ("page.md", "# Title\n\nIt is built\nWORD.\n", [4]),
        ("settings.yaml", "seed: 1  # built WORD\n", [1]),
    ],
)
def test_planted_words_are_found_where_people_read(tmp_path, name, source, lines):
    (tmp_path / name).write_text(source.replace("WORD", WORD))
    findings = check.check(tmp_path / name, RULES)
    assert [finding.line for finding in findings] == lines
    assert {finding.words for finding in findings} <= {WORD}


@pytest.mark.parametrize(
    ("source", "phrase"),
    [
        ("# there\n# is NEG\n# graph\nx = 1\n", None),
        ("# the file is\n# NEG graph\n", "is NEG "),
        ("# the file is\nx = 1\n# NEG graph\n", None),
    ],
)
def test_phrases_reach_over_lines_but_not_over_code(source, phrase):
    findings = check.findings(check.python_text(source.replace("NEG", "no")), RULES)
    assert [finding.words for finding in findings] == ([phrase.replace("NEG", "no")] if phrase else [])


def test_findings_are_printed_with_file_line_and_advice(tmp_path, monkeypatch, capsys):
    (tmp_path / "page.md").write_text(f"First line.\nThe list is built {WORD}.\n")
    monkeypatch.setattr(check, "ROOT", tmp_path)
    monkeypatch.setattr(check, "rules", lambda: RULES)
    assert check.main([str(tmp_path / "page.md")]) == 1
    assert capsys.readouterr().out.startswith(f"page.md:2: '{WORD}': use \"again\"")


def test_the_project_is_clean(capsys):
    assert check.main([]) == 0, capsys.readouterr().out
