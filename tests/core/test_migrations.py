import pytest

from nequix.core.migrations import Change, Format, NewerVersion

LATER = Format(
    "thing",
    (
        Change({"colour": "red", "size.width": 3}),
        Change(rewrite=lambda record: {**record, "length": record["length"] * 10}),
        Change({"weight": None}),
    ),
)


def test_an_older_record_gets_the_values_that_it_meant():
    record = {"length": 2, "size": {"height": 1}}
    assert LATER.version == 4
    assert LATER.upgrade(record, 1) == {
        "length": 20,
        "size": {"height": 1, "width": 3},
        "colour": "red",
        "weight": None,
    }
    assert LATER.upgrade(record, "3") == {**record, "weight": None}
    assert LATER.upgrade(record, 4) == record
    assert record == {"length": 2, "size": {"height": 1}}


def test_a_section_that_an_older_record_lacks_stays_absent():
    assert LATER.upgrade({"length": 1, "size": None}, 1)["size"] is None
    assert "size" not in LATER.upgrade({"length": 1}, 1)


def test_a_newer_record_is_rejected_with_the_way_out():
    with pytest.raises(NewerVersion, match=r"thing version 5 .* up to 4: install a newer nequix"):
        LATER.upgrade({}, "5")


@pytest.mark.parametrize("version", [None, True, 0, -1, 1.0, "", "1.0", "²", "9" * 5000, [], {}])
def test_what_is_not_a_version_is_rejected(version):
    with pytest.raises(ValueError, match="expected a whole number"):
        LATER.upgrade({}, version)


def test_a_record_is_written_in_the_oldest_version_of_the_same_meaning():
    assert LATER.lower({"length": 20, "weight": None}) == (3, {"length": 20})
    assert LATER.lower({"length": 20, "weight": 7}) == (4, {"length": 20, "weight": 7})
    assert Format("thing", (Change({"a": 1}), Change({"b": 2}))).lower({"a": 1, "b": 2}) == (1, {})
