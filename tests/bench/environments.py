"""Where others that are measured are installed: each once, in an environment of its own."""

import shutil
import subprocess
import venv
from pathlib import Path

from tests.bench.serving import say


def installed(home: Path, program: str, *packages: str) -> Path | None:
    """Return a program of packages from the package index, installed at `home` the first time.

    Returns None where that cannot be; the bench goes on without it.
    """
    found = home / "bin" / program
    if not found.exists():
        say(f"installing {home.name}, once ...")
        venv.EnvBuilder(clear=True, symlinks=True, with_pip=True).create(home)
        pip = [str(home / "bin" / "python"), "-m", "pip", "install", "-q", "--no-input", *packages]
        done = subprocess.run(pip, check=False, capture_output=True, text=True)
        if done.returncode != 0:
            say(f"{home.name} cannot be installed; going on without it:\n{done.stderr[-1000:]}")
            shutil.rmtree(home, ignore_errors=True)
            return None
    return found
