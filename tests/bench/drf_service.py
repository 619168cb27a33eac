"""A service of Django REST framework: a view for each query, a field of a serializer for each column.

As one is written, but lighter: no models, no pages, no authentication, no browsable pages. It runs in
an environment of its own, with `BENCH_DATABASE` (a SQLite file) and `BENCH_QUERIES` (a JSON file: each
query by the name that it is asked by).
"""

import json
import os
import re
from functools import cache
from pathlib import Path

import django
from django.conf import settings

settings.configure(
    ALLOWED_HOSTS=["*"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": os.environ["BENCH_DATABASE"],
            "CONN_MAX_AGE": None,
        }
    },
    INSTALLED_APPS=["rest_framework"],
    REST_FRAMEWORK={
        "DEFAULT_AUTHENTICATION_CLASSES": [],
        "DEFAULT_PERMISSION_CLASSES": [],
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
        "UNAUTHENTICATED_USER": None,
    },
    ROOT_URLCONF=__name__,
    USE_TZ=True,
)
django.setup()

from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.db import connection  # noqa: E402
from django.urls import path  # noqa: E402
from rest_framework import serializers  # noqa: E402
from rest_framework.request import Request  # noqa: E402
from rest_framework.response import Response  # noqa: E402
from rest_framework.views import APIView  # noqa: E402

QUERIES: dict[str, str] = json.loads(Path(os.environ["BENCH_QUERIES"]).read_text())

NUMBERS = {
    *("affirmations", "reports", "seq", "source_id", "quantity_min", "quantity_max", "credibility"),
    *("chain", "replaces", "replaced_by"),
}
TEXTS = {"stated_on", "published_on"}
"""They may be imprecise, and so are no dates of the database."""


def _field(column: str) -> serializers.Field:
    name = column.removeprefix("before_").removeprefix("after_")
    if name in NUMBERS:
        return serializers.IntegerField(allow_null=True)
    if name.endswith("_at"):
        return serializers.DateTimeField(allow_null=True)
    if name == "since" or (name.endswith("_on") and name not in TEXTS):
        return serializers.DateField(allow_null=True)
    return serializers.CharField(allow_null=True)


@cache
def _serializer(columns: tuple[str, ...]) -> type[serializers.Serializer]:
    return type("Row", (serializers.Serializer,), {name: _field(name) for name in columns})


class Rows(APIView):  # type: ignore[misc]  # not installed where types are checked
    """Answers a query with a list of its rows."""

    query = ""

    def get(self, request: Request) -> Response:
        """Return the rows; the query's parameters are those of the request."""
        with connection.cursor() as cursor:
            cursor.execute(self.query, request.query_params.dict())
            columns = tuple(column[0] for column in cursor.description)
            rows = [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]
        return Response(_serializer(columns)(rows, many=True).data)


def _view(query: str) -> type[Rows]:
    return type("View", (Rows,), {"query": re.sub(r":([a-z]+)", r"%(\1)s", query)})


def _healthy(_: object) -> django.http.HttpResponse:
    return django.http.HttpResponse(b"ok")


urlpatterns = [
    path("healthz", _healthy),
    *(path(name, _view(query).as_view()) for name, query in QUERIES.items()),
]
application = get_wsgi_application()
