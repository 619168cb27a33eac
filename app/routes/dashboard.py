"""GET /: the matrix of countries and components, as a page for people."""

from html import escape
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from app.as_of import PositionFilter, known_on, positions_as_of
from app.deps import Read, reading
from app.paging import MomentQuery
from app.positions import PositionView
from app.routes.answers import READ
from app.vocabulary import FORCE, Component, Kind

router = APIRouter(tags=["operations"])

# Nothing but our own style sheet is loaded, and no script runs.
POLICY = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"


@router.get("/", response_class=HTMLResponse, responses=READ)
def get_dashboard(request: Request, query: Annotated[MomentQuery, Query()]) -> HTMLResponse:
    """The positions on a day, as a page: countries by component, each with its source."""
    with reading(request, query) as read:
        known = known_on(read.session, read.moment, PositionFilter())
        found = positions_as_of(known, read.viewer(), read.day, PositionFilter())
        page = render(read, found)
        return HTMLResponse(page, headers=read.headers | {"Content-Security-Policy": POLICY})


def render(read: Read, found: list[PositionView]) -> str:
    """Return the page; whatever a client has written is shown as text."""
    components = [each for each in Component if each in FORCE or any(p.component is each for p in found)]
    rows: dict[str, dict[Component, PositionView]] = {}
    for position in found:
        rows.setdefault(position.country_name, {})[position.component] = position
    day = read.day.isoformat()
    asked = read.request.query_params
    pinned = f"&amp;seq={read.seq}" if {"seq", "known_at"} & set(asked) else ""
    moment = f"as_of={day}{pinned}"
    kept = f'<input type="hidden" name="seq" value="{read.seq}">' if pinned else ""
    if rows:
        head = "".join(f'<th scope="col">{each}</th>' for each in components)
        body = "".join(
            f'<tr><th scope="row">{escape(name)}</th>'
            + "".join(_cell(held.get(component), moment) for component in components)
            + "</tr>"
            for name, held in sorted(rows.items())
        )
        table = (
            f'<div class="scroll" tabindex="0"><table><caption>{len(found)} positions on {day}, as recorded '
            f"up to entry {read.seq}</caption><thead><tr><th scope='col'>country</th>{head}</tr></thead>"
            f"<tbody>{body}</tbody></table></div>"
        )
    else:
        table = f"<p>No position is recorded for {day}. That is not a refusal by anybody.</p>"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<title>Coalition commitment tracker</title><link rel="stylesheet" href="/web/tracker.css"></head>'
        "<body><main><h1>Coalition commitment tracker</h1>"
        "<p>What countries say they will, might or will not give to the Ukraine reassurance force.</p>"
        f'<form><label>As of<input type="date" name="as_of" value="{day}"></label>{kept}'
        "<button>Show</button></form>"
        f'{table}<p><a href="/v1/positions?{moment}">JSON</a> · '
        f'<a href="/v1/positions?{moment}&amp;format=csv">CSV</a> · <a href="/docs">API</a></p>'
        "</main></body></html>"
    )


def _cell(position: PositionView | None, moment: str) -> str:
    if position is None:
        return '<td class="none">none recorded</td>'
    is_refusal = position.kind is Kind.REFUSAL
    marks = [
        name
        for name, is_set in (
            ("conditional", position.conditional),
            ("contested", position.contested),
            ("stale", position.stale),
        )
        if is_set
    ]
    words = f"refusal, {position.firmness}" if is_refusal else position.firmness.value
    source = escape(position.source.publisher or position.source.title)
    url = position.source.url or ""
    if url.lower().startswith(("https://", "http://")):
        source = f'<a rel="noopener nofollow" href="{escape(url, quote=True)}">{source}</a>'
    link = f"/v1/positions/{position.country}/{position.component}?{moment}"
    return (
        f'<td><a class="{"refused" if is_refusal else "held"}" href="{link}">{words}</a>'
        f'<span class="marks">{", ".join(marks)}</span>{escape(position.summary)}'
        f"<cite>{escape(position.stated_on)}, {source}</cite></td>"
    )
