"""Measures the server beside the least that a server can be, and beside others.

    python3 dev.py bench --help

Every round asks each server in turn, so that what else the machine does falls on all of them. Only
ratios within one run say anything; docs/performance.md tells what is compared, and what a full run gave.
"""

import argparse
import signal
import sys
from contextlib import ExitStack
from pathlib import Path

import sqlalchemy as sa

from app.db import ROOT
from app.settings import address
from tests.bench.bulk import measure_bulk
from tests.bench.growth import measure_growth
from tests.bench.questions import LEAST, WAYS
from tests.bench.reads import OTHERS, measure_reads
from tests.bench.records import Records, postgresql
from tests.bench.starting import measure_starts
from tests.bench.writes import measure_writes

PARTS = ("reads", "growth", "writes", "bulk", "start")
TAKEN = ("bare", "hot", "cold", *OTHERS)
"""Names of servers that the bench starts itself."""


def _named(text: str) -> tuple[str, str]:
    name, _, url = text.partition("=")
    if not name or name in TAKEN or not url.startswith("http://"):
        raise argparse.ArgumentTypeError("give NAME=http://HOST:PORT, with a name of its own")
    return name, url


def _server(text: str) -> sa.URL:
    try:
        found = address(text)
    except sa.exc.ArgumentError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if found.get_backend_name() != "postgresql":
        raise argparse.ArgumentTypeError("give postgresql://USER@HOST/NAME; SQLite files go into --folder")
    return found


def parser() -> argparse.ArgumentParser:
    """Return what may be chosen."""
    made = argparse.ArgumentParser(prog="dev.py bench", description=__doc__.partition("\n")[0])
    add = made.add_argument
    add("--only", action="append", choices=PARTS, default=[], help="a part; repeatable. Default: all")
    add("--size", type=int, default=100_000, help="entries of the record (100,000)")
    add("--grown", type=int, nargs="*", default=[1_000], help="other lengths for the growth (1,000)")
    add("--rounds", type=int, default=3, help="rounds, each asking every server (3)")
    add("--seconds", type=int, default=3, help="seconds for each question (3)")
    add("--ways", type=int, default=WAYS, help=f"in how many ways each question is asked of cold ({WAYS})")
    add("--folder", type=Path, default=ROOT / "var" / "bench", help="where records are kept (var/bench)")
    add("--database", type=_server, metavar="URL", help="a PostgreSQL database, to make others beside it")
    add("--postgresql", action="store_true", help="on a PostgreSQL server that the bench starts for itself")
    add("--against", type=_named, action="append", default=[], metavar="NAME=URL", help="another server")
    add(
        "--without",
        action="append",
        choices=OTHERS,
        default=[],
        help="do not install and measure it; repeatable",
    )
    return made


def _leave(number: int, _: object) -> None:
    sys.exit(128 + number)


def main() -> None:
    """Run the chosen measurements and print their tables."""
    reader = parser()
    chosen = reader.parse_args()
    if min([chosen.size, *chosen.grown]) < LEAST or not 1 <= chosen.ways <= WAYS:
        reader.error(f"a record has at least {LEAST} entries, and a question 1 to {WAYS} ways")
    signal.signal(signal.SIGTERM, _leave)
    folder: Path = chosen.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    parts = chosen.only or PARTS
    rounds, seconds, size = chosen.rounds, chosen.seconds, chosen.size
    with ExitStack() as stack:
        records = Records(folder, chosen.database)
        if chosen.postgresql:
            records = stack.enter_context(postgresql(folder))
        print(f"On {'SQLite' if records.is_embedded else 'PostgreSQL'}, {size:,} entries.")
        if "reads" in parts:
            measure_reads(
                records,
                size,
                rounds=rounds,
                seconds=seconds,
                ways=chosen.ways,
                without=chosen.without,
                against=chosen.against,
            )
        if "growth" in parts:
            sizes = [*chosen.grown, size]
            measure_growth(records, sizes, rounds=rounds, seconds=seconds, ways=chosen.ways)
        if "writes" in parts:
            measure_writes(records, size, rounds=rounds, seconds=seconds)
        if "bulk" in parts:
            measure_bulk(records, size, rounds=rounds)
        if "start" in parts and records.is_embedded:
            measure_starts(folder, rounds=rounds)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit(130) from None
