"""The `coalition` command as a person meets it: words in, exit code and two streams out."""

import io
import os
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from app.cli import main
from tests.serving import environment


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """What was said to the person, on one line however wide their terminal is."""
        return " ".join(self.err.split())


def coalition(*words: str, database_url: str, folder: Path, **variables: str) -> Outcome:
    """Run a command in `folder`, where no settings file lies, on a database."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with (
        mock.patch.dict(os.environ, environment(database_url) | variables, clear=True),
        mock.patch.object(sys, "argv", ["coalition", *words]),
        chdir(folder),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return Outcome(code, out.getvalue(), err.getvalue())
