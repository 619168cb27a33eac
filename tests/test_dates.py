from datetime import date, timedelta
from itertools import product

import pytest
from edtf import parse_edtf as parse_with_oracle
from hypothesis import given
from hypothesis import strategies as st

from app.dates import BadDate, Edtf, parse_day, parse_edtf

QUALIFIERS = ("", "~", "?", "%")
PLAIN = ("0001", "2025", "2025-03", "2024-02", "2100-02", "2024-02-29", "9999-12", "9999-12-31")
UNSPECIFIED = ("202X", "001X", "20XX", "99XX", "2025-XX", "2024-02-XX", "2025-04-XX", "2025-XX-XX")
INTERVALS = ("2025-03-24/2025-03-27", "2024/2025", "2024-02/2024-02", "2025-03-27/2025")

# One code a paragraph reads better than one text a line.
# fmt: off
REFUSED = {
    "not_a_date": (
        "", " ", "today", "27.03.2025", "2025-03-27 ", " 2025-03-27", "2025-03-27\n",
        "2025 /2026", "2025/ 2026", "\u0662\u0660\u0662\u0665-\u0660\u0663-\u0662\u0667",
        "2025-03-2\u0667", "202\u0665", "\u00b2025", "2025\u201303\u201327", "\ud800",
        "2025\x00", "202x", "2025-xx", "202", "20250", "2025-3", "2025-3-7", "2025-03-",
        "20250327", "2025-086", "2025-W13", "2025-W13-4", "2025-03-27T10:00",
        "2025-03-27T10:00:00Z", "-2025", "+2025", "Y12025", "2025E3", "2025S2", "..", "...",
        "2025..2026", "[2025,2026]", "{2025}", "XXXX", "2XXX", "20X5", "X025", "202X-03",
        "202X-XX", "20XX-XX-XX", "2025-1X", "2025-X1", "2025-03-2X", "2025-XX-27", "XXXX-XX-27",
        "~2025", "2025~-03", "2025-03~-27", "2025-~03", "2025~?", "2025~~", "2025#", "~",
        "..~/2025", "../../2025", "2025/2026/2027", "2025//2026", "2025--2026", "2025-03-24/27",
        "/tomorrow", "yesterday/2025", "2025/" + "0" * 28, "2" * 33,
    ),
    "impossible_date": (
        "2025-02-30", "2025-02-29", "2100-02-29", "2025-04-31", "2025-03-32", "2025-03-00",
        "2025-00", "2025-13", "2025-13-01", "2025-13-XX", "2025-00-XX", "2025-02-30~", "2025-21",
        "2025-24?", "2025-41", "0000", "0000-01", "0000-01-01", "000X", "00XX",
        "2025-02-30/2025-03-10", "2025-02/2025-02-30", "../2025-02-30", "2025-21/2025-22",
    ),
    "open_end": (
        "2025/..", "2025-03-27/..", "2025/", "../..", "../", "/..", "/",
    ),
    "unknown_start": (
        "/2025", "/2025-03-28", "/2025-03-XX~",
    ),
    "reversed_interval": (
        "2025-03-28/2025-03-27", "2025-04/2025-03", "2026/2025", "2025-03-27/2024", "203X/202X",
    ),
}
# fmt: on


@pytest.mark.parametrize(
    ("text", "earliest", "latest"),
    [
        ("2025-03-27", "2025-03-27", "2025-03-27"),
        ("2024-02-29", "2024-02-29", "2024-02-29"),
        ("2000-02-29", "2000-02-29", "2000-02-29"),
        ("0001-01-01", "0001-01-01", "0001-01-01"),
        ("9999-12-31", "9999-12-31", "9999-12-31"),
        ("2025-03", "2025-03-01", "2025-03-31"),
        ("2025-02", "2025-02-01", "2025-02-28"),
        ("2024-02", "2024-02-01", "2024-02-29"),
        ("9999-12", "9999-12-01", "9999-12-31"),
        ("2025", "2025-01-01", "2025-12-31"),
        ("0001", "0001-01-01", "0001-12-31"),
        ("2025-03-27~", "2025-03-27", "2025-03-27"),
        ("2025-03?", "2025-03-01", "2025-03-31"),
        ("2025%", "2025-01-01", "2025-12-31"),
        ("202X", "2020-01-01", "2029-12-31"),
        ("20XX", "2000-01-01", "2099-12-31"),
        ("001X", "0010-01-01", "0019-12-31"),
        ("2025-XX", "2025-01-01", "2025-12-31"),
        ("2025-03-XX", "2025-03-01", "2025-03-31"),
        ("2024-02-XX", "2024-02-01", "2024-02-29"),
        ("2025-XX-XX", "2025-01-01", "2025-12-31"),
        ("202X~", "2020-01-01", "2029-12-31"),
        ("2025-03-XX?", "2025-03-01", "2025-03-31"),
        ("2025-03-24/2025-03-27", "2025-03-24", "2025-03-27"),
        ("2025-03-27/2025-03-27", "2025-03-27", "2025-03-27"),
        ("2025-03-24~/2025-03-27?", "2025-03-24", "2025-03-27"),
        ("2025-03/2025-04", "2025-03-01", "2025-04-30"),
        ("2024/2025-02", "2024-01-01", "2025-02-28"),
        ("2025-03-27/2025", "2025-03-27", "2025-12-31"),
        ("2025-03/2025-03-10", "2025-03-01", "2025-03-10"),
        ("2025-03-XX/2025-04", "2025-03-01", "2025-04-30"),
        ("201X%/202X", "2010-01-01", "2029-12-31"),
        ("../2025-03-28", None, "2025-03-28"),
        ("../2025-03~", None, "2025-03-31"),
        ("../202X", None, "2029-12-31"),
    ],
)
def test_a_date_has_the_first_and_the_last_day_that_it_can_mean(
    text: str, earliest: str | None, latest: str
) -> None:
    assert parse_edtf(text) == Edtf(
        text,
        None if earliest is None else date.fromisoformat(earliest),
        date.fromisoformat(latest),
    )


@pytest.mark.parametrize(
    ("text", "code"), [(text, code) for code, texts in REFUSED.items() for text in texts]
)
def test_anything_else_is_refused_with_its_code(text: str, code: str) -> None:
    with pytest.raises(BadDate) as refusal:
        parse_edtf(text)

    assert refusal.value.code == code


@pytest.mark.parametrize(
    ("text", "cure"),
    [
        ("soon", "'soon' is not a date: write YYYY, YYYY-MM or YYYY-MM-DD"),
        ("2025-02-30", "'2025-02-30' is not in the calendar"),
        ("2025-21", "for a season write its months, as in 2025-03/2025-05"),
        ("2025-03/..", "write the latest day it can be after the slash"),
        ("/2025-03-28", "write '../2025-03-28'"),
        ("2026/2025", "write the earlier date before the slash"),
    ],
)
def test_a_refusal_names_the_cure(text: str, cure: str) -> None:
    with pytest.raises(BadDate) as refusal:
        parse_edtf(text)

    assert cure in str(refusal.value)


@pytest.mark.parametrize("around", ["{}", "{}/..", "2025/{}", "{}/2025", "/{}"])
def test_a_refusal_does_not_repeat_a_long_text(around: str) -> None:
    with pytest.raises(BadDate) as refusal:
        parse_edtf(around.format("9" * 1_000_000))

    assert len(str(refusal.value)) < 300


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "not_a_date"),
        ("2025", "not_a_date"),
        ("2025-03", "not_a_date"),
        ("2025-03-27~", "not_a_date"),
        ("2025-03-XX", "not_a_date"),
        ("2025-03-27/2025-03-28", "not_a_date"),
        ("20250327", "not_a_date"),
        ("2025-W13-4", "not_a_date"),
        ("2025-03-27T00:00", "not_a_date"),
        ("2025-03-27\n", "not_a_date"),
        ("2025-03-2\u0667", "not_a_date"),
        ("+025-03-27", "not_a_date"),
        ("2025-02-30", "impossible_date"),
        ("2025-13-01", "impossible_date"),
        ("0000-01-01", "impossible_date"),
    ],
)
def test_a_day_is_written_in_one_way_only(text: str, code: str) -> None:
    with pytest.raises(BadDate) as refusal:
        parse_day(text)

    assert refusal.value.code == code


@given(st.dates())
def test_every_day_is_read_back_as_itself(day: date) -> None:
    assert parse_day(day.isoformat()) == day
    assert parse_edtf(day.isoformat()) == Edtf(day.isoformat(), day, day)


@given(
    day=st.dates(),
    shape=st.sampled_from(["YYYY-MM-DD", "YYYY-MM", "YYYY-MM-XX", "YYYY", "YYYY-XX", "YYYY-XX-XX"]),
    qualifier=st.sampled_from(QUALIFIERS),
)
def test_a_coarser_date_still_holds_its_day(day: date, shape: str, qualifier: str) -> None:
    year, month, number = day.isoformat().split("-")
    text = shape.replace("YYYY", year).replace("MM", month).replace("DD", number) + qualifier

    parsed = parse_edtf(text)

    assert parsed.text == text
    assert parsed.earliest_on is not None
    assert parsed.earliest_on <= day <= parsed.latest_on


@given(
    start=st.dates(max_value=date(9000, 1, 1)),
    days=st.integers(min_value=0, max_value=100_000),
    qualifiers=st.tuples(st.sampled_from(QUALIFIERS), st.sampled_from(QUALIFIERS)),
)
def test_an_interval_keeps_both_of_its_ends(start: date, days: int, qualifiers: tuple[str, str]) -> None:
    end = start + timedelta(days=days)
    text = f"{start}{qualifiers[0]}/{end}{qualifiers[1]}"

    assert parse_edtf(text) == Edtf(text, start, end)


@given(st.text(alphabet="0123579X-/.~?% x\u0663", max_size=24) | st.text(max_size=40))
def test_any_text_is_read_in_order_or_refused(text: str) -> None:
    try:
        parsed = parse_edtf(text)
    except BadDate:
        return

    assert parsed.text == text
    assert parsed.earliest_on is None or parsed.earliest_on <= parsed.latest_on


@pytest.mark.parametrize(
    "text",
    [
        *("".join(parts) for parts in product(PLAIN + UNSPECIFIED, QUALIFIERS)),
        *(
            f"{start}{first}/{end}{second}"
            for interval, first, second in product(INTERVALS, QUALIFIERS, QUALIFIERS)
            for start, end in [interval.split("/")]
        ),
    ],
)
def test_the_bounds_are_those_of_an_independent_implementation(text: str) -> None:
    oracle = parse_with_oracle(text)

    assert parse_edtf(text) == Edtf(text, date(*oracle.lower_strict()[:3]), date(*oracle.upper_strict()[:3]))
