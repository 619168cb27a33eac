"""How many reports stand beside a position, told from what is kept as by counting each of them."""

import random

import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from app.db import Database, table_of
from app.report_counts import ReportCount, all_counted
from app.verify import verify
from tests import make

MONTHS = range(1, 7)
DAYS = ("2024-12-31", *(f"2025-0{month}-{day}" for month in MONTHS for day in ("01", "02", "14", "28")))


def is_kept_as_counted(database: Database) -> bool:
    with database.reading() as session:
        kept = sa.select(table_of(ReportCount)).order_by(sa.text("line_id, day"))
        return list(map(tuple, session.execute(kept))) == [
            tuple(row.values()) for row in all_counted(session)
        ]


def counts(client: TestClient, *seqs: int) -> list[list[int]]:
    """Return how many reports stand beside each position, on each day, as known at each seq and now."""
    known = [{"seq": seq} for seq in seqs] + [{}]
    urls = [{"as_of": day} | each for each in known for day in DAYS]
    return [
        [item["reports"] for item in client.get("/v1/positions", params=url).json()["items"]] for url in urls
    ]


def without_counts(database: Database) -> None:
    with database.writing() as session:
        session.execute(sa.delete(table_of(ReportCount)))


@pytest.mark.parametrize("seed", range(3))
def test_reports_are_told_as_if_each_were_counted(
    contributor: TestClient, database: Database, seed: int
) -> None:
    chance = random.Random(seed)
    for country in ("FR", "PL"):
        make.state(contributor, country=country, stated_on="2024-12-30")
    live: list[int] = []
    for number in range(40):
        said = {
            "country": chance.choice(("FR", "PL")),
            "authority": chance.choice(("media", "media", "ministry")),
            "stated_on": f"2025-0{chance.choice(MONTHS)}-{chance.randint(1, 28):02}",
            "speaker": f"S {number}",
        }
        what = chance.random() if len(live) > 5 else 0
        if what < 0.7:
            live.append(make.state(contributor, **said))
        elif what < 0.85:
            live.append(make.correct(contributor, live.pop(chance.randrange(len(live))), **said))
        else:
            make.retract(contributor, live.pop(chance.randrange(len(live))))
        assert is_kept_as_counted(database)

    now = counts(contributor, 20)
    assert max(now[-1]) > 3
    without_counts(database)
    assert counts(contributor, 20) == now


def test_what_is_kept_is_not_counted_again(contributor: TestClient, database: Database) -> None:
    make.state(contributor, stated_on="2025-03-01")
    for day in ("2025-03-30", "2025-03-31", "2025-04-01"):
        make.state(contributor, authority="media", stated_on=day, speaker=f"On {day}")
    with database.writing() as session:
        session.execute(sa.update(table_of(ReportCount)).values(reports=ReportCount.reports + 70))

    days = ("2025-03-31", "2025-04-01", "2025-05-01")
    told = [contributor.get("/v1/positions", params={"as_of": day}).json()["items"] for day in days]
    assert [items[0]["reports"] for items in told] == [70 + 2, 70 + 3, 70 + 3]


def test_rows_of_a_bulk_are_counted(contributor: TestClient, database: Database) -> None:
    rows = [
        make.body(authority="media", stated_on=f"2025-{month}-11", country=country, speaker=f"S {number}")
        for number, month in enumerate(("05", "03", "04", "03", "01"))
        for country in ("FR", "PL")
    ]
    assert contributor.post("/v1/positions/bulk", json=rows).status_code == 201

    assert is_kept_as_counted(database)
    with database.reading() as session:
        assert [row["reports"] for row in all_counted(session)] == [1, 3, 4, 5] * 2


def test_a_count_that_was_forged_is_found(contributor: TestClient, database: Database) -> None:
    make.state(contributor, country="FR")
    make.state(contributor, authority="media")
    for forgery in (
        "UPDATE report_count SET reports = 2",
        "UPDATE report_count SET day = '2025-05-01'",
        "DELETE FROM report_count",
        "INSERT INTO report_count VALUES (2, '2025-06-01', 1)",
    ):
        with database.writing() as session:
            assert verify(session).finding is None
            session.execute(sa.text(forgery))
            finding = verify(session).finding
            session.rollback()
        assert finding is not None, forgery
        assert (finding.seq, finding.what) == (2, "the reports in its lines are not as many as is kept")
