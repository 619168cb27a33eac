from starlette.testclient import TestClient

from tests import make
from tests.make import Asked

COUNTRIES = ("BE", "DE", "ES", "FR", "GB", "IT", "NL", "NO", "PL", "SE")
URLS = (
    "/v1/positions?as_of=2025-06-01",
    "/v1/positions?as_of=2025-06-01&country=BE&group=nato&dates=possible",
    "/v1/positions/BE/troops?as_of=2025-06-01",
    "/v1/countries?as_of=2025-06-01&limit=1000",
    "/v1/countries/BE?as_of=2025-06-01",
    "/v1/changes",
    "/v1/changes?country=BE&component=troops&source=1",
    "/v1/diff?from=2025-02-01&to=2025-06-01",
    "/v1/diff?from=2025-03-01&to=2025-06-01&mode=events",
    "/v1/diff?from=0&to={head}&axis=recorded&mode=events",
    "/v1/sources",
)


def record(client: TestClient, countries: tuple[str, ...], month: int) -> int:
    """State two positions for each country, each from a source of its own; return the last seq."""
    seq = 0
    for country in countries:
        for day in (1, 2):
            source = make.SOURCE | {"url": f"https://example.org/{country}/{month}/{day}"}
            related = [{"seq": seq, "relation": "repeats"}] if day == 2 else []
            seq = make.state(
                client,
                country=country,
                stated_on=f"2025-0{month}-0{day}",
                source=source,
                relates_to=related,
            )
    return seq


def counted(client: TestClient, asked: Asked, head: int) -> dict[str, int]:
    """Return how many queries each question takes."""
    found = {}
    for url in URLS:
        asked.clear()
        assert client.get(url.format(head=head)).json()["meta"]["total"] > 0
        found[url] = len(asked)
    return found


def test_the_number_of_queries_does_not_grow_with_the_record(contributor: TestClient, asked: Asked) -> None:
    few = counted(contributor, asked, record(contributor, COUNTRIES[:1], month=3))
    many = counted(contributor, asked, record(contributor, COUNTRIES, month=4))

    assert many == few


def test_the_number_of_queries_of_a_write_does_not_grow_with_the_record(
    contributor: TestClient, asked: Asked
) -> None:
    def writing(entry: int, **fields: str) -> int:
        asked.clear()
        make.correct(contributor, entry, **fields)
        return len(asked)

    few = writing(record(contributor, COUNTRIES[:1], month=3), summary="Few.")
    many = writing(record(contributor, COUNTRIES, month=4), summary="Many.")

    assert many == few
