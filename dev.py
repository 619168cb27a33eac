"""Makes the project's private environment from the hash lock, then runs one command inside it.

Only the standard library, and nothing an older Python cannot parse: whoever runs this on Python 3.8
must be told so in a sentence, not by a syntax error.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from subprocess import DEVNULL, PIPE, STDOUT

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / ".stamp"
RUN_LOCK = ROOT / "requirements.txt"
DEV_LOCK = ROOT / "requirements-dev.txt"
INTERPRETER = f"{sys.version} in {sys.base_prefix}".replace("\n", " ")
NOT_FOR_PIP = {"PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_CONSTRAINT", "PYTHONPATH"}
INSTALL = "install -q --no-input --disable-pip-version-check --require-hashes --only-binary=:all: -r"
COMPILE = "uv pip compile -q --no-cache --universal --generate-hashes --no-annotate"
AUDIT = "-m uv audit --no-cache --preview-features audit"
UNANSWERED, TRY_LATER = 2, 75
CHECKS = ("ruff format --check .", "ruff check .", "mypy", "pytest")
HELP = """\
python3 dev.py WORD ...    (Python 3.11 or newer and pip; nothing else, and no configuration)

  serve [--host H] [--port P] [--no-seed]   run the API at 127.0.0.1:8000 on a database in var/
  test [pytest arguments]                   run the tests, for example: test -x -k as_of
  check                                     format, lint, types and tests, as before a commit
  lock [--check | uv arguments]             remake both locks after a change of pyproject.toml;
                                            --check only compares; --upgrade takes newer releases
  bench [--help | options]                  measure the server beside a bare one and others
  audit [uv arguments]                      ask osv.dev for known vulnerabilities of what is locked;
                                            ends with 1 where there are some, 75 where nobody answers

Any other word is a `coalition` command, for example:
  python3 dev.py keys create my-script --scope contribute
  python3 dev.py serve --help

The first use makes a private environment in .venv from requirements.txt (for test, check, bench and lock
from requirements-dev.txt), every file checked against its hash. Deleting .venv is always safe."""


def refusal(version: tuple[int, ...], system: str = os.name) -> str | None:
    """What to tell someone whose Python or system cannot run this project; None when it can."""
    if version < (3, 11):
        found = ".".join(str(part) for part in version[:3])
        cure = "use a newer one, for example `python3.12 dev.py serve`."
        return f"dev.py: Python 3.11 or newer is needed, this is {found}: {cure}"
    if system != "posix":
        return "dev.py: Linux or macOS is needed; on Windows run the same line inside WSL."
    return None


def say(line: str) -> None:
    """Tell the person; standard output belongs to the command, as in `dev.py export > file`."""
    print(line, file=sys.stderr, flush=True)


def stamp_for(lock: Path) -> list[str]:
    """The interpreter, then a digest of each lock that installing `lock` satisfies."""
    locks = [RUN_LOCK, DEV_LOCK] if lock == DEV_LOCK else [RUN_LOCK]
    return [INTERPRETER, *(hashlib.sha256(path.read_bytes()).hexdigest() for path in locks)]


def stamp_found() -> list[str]:
    """The stamp of the last finished installation; empty when there is none that can be used."""
    return STAMP.read_text().splitlines() if PYTHON.exists() and STAMP.exists() else []


def prepare(lock: Path) -> None:
    """Have in .venv what `lock` pins; an environment with the development lock serves for both."""
    import fcntl  # noqa: PLC0415 (Windows has none, and there `refusal` has to speak first)

    try:
        if set(stamp_for(lock)) <= set(stamp_found()):
            return
        folder = os.open(ROOT, os.O_RDONLY)
        with contextlib.suppress(OSError):  # some network file systems have no locks
            fcntl.flock(folder, fcntl.LOCK_EX)  # a second run waits here, and finds the work done
        if not set(stamp_for(lock)) <= set(stamp_found()):
            install(lock)
        os.close(folder)
    except OSError as error:
        cure = "It takes a folder that you may write in, with some 400 MB of room."
        raise SystemExit(f"dev.py: {VENV} cannot be made or changed: {error}\n{cure}") from None


def install(lock: Path) -> None:
    """Install `lock` into .venv, made anew unless a finished one of this interpreter is there.

    The stamp goes first and comes back last: an interrupted pip can leave a package that looks
    installed and is not, so what has no stamp is never built upon.
    """
    stamp, fresh = stamp_for(lock), stamp_found()[:1] != [INTERPRETER]
    command = [python_with_pip(), "-m", "pip", "--python", str(VENV), *INSTALL.split(), str(lock)]
    settings = {name: value for name, value in os.environ.items() if name not in NOT_FOR_PIP}
    settings.update(PIP_USER="0", PIP_REQUIRE_VIRTUALENV="0")
    what = "Making the private environment in .venv, once" if fresh else "Bringing .venv up to date"
    say(f"{what}: about {20 if lock == DEV_LOCK else 10} seconds ...")
    STAMP.unlink(missing_ok=True)
    if fresh:
        venv.EnvBuilder(clear=True, symlinks=True).create(VENV)
    # In a session of its own, because pip works in a child of its own: both have to end with us.
    pip = subprocess.Popen(
        command, cwd=ROOT, env=settings, start_new_session=True, stdout=PIPE, stderr=STDOUT
    )
    try:
        words = pip.communicate()[0]
    except BaseException:
        os.killpg(pip.pid, signal.SIGKILL)
        raise
    if pip.returncode != 0:
        sys.stderr.buffer.write(words)
        raise SystemExit(
            "dev.py: the packages could not be fetched or installed; pip's own words are above.\n"
            "Check the network and any proxy, or set PIP_INDEX_URL to a mirror, PIP_FIND_LINKS to\n"
            "a folder of wheels. Then run the same line again: nothing has to be cleaned up."
        )
    STAMP.write_text("\n".join(stamp))


def python_with_pip() -> str:
    """The interpreter behind this one, or this one: a private environment has no pip of its own."""
    for python in (getattr(sys, "_base_executable", sys.executable), sys.executable):
        if subprocess.call([python, "-m", "pip", "-V"], stdout=DEVNULL, stderr=DEVNULL) == 0:
            return python
    raise SystemExit(
        f"dev.py: pip is needed once, and {sys.executable} has none.\n"
        "Debian and Ubuntu: `apt install python3-pip`; elsewhere: `python3 -m ensurepip --user`."
    )


def become(*arguments: str) -> None:
    """Turn into `.venv/bin/python -m ...` at the root: Ctrl-C and SIGTERM then reach it."""
    os.chdir(ROOT)
    os.execv(PYTHON, [str(PYTHON), "-m", *arguments])


def check() -> None:
    """Run the checks in order and stop at the first that fails."""
    for step in CHECKS:
        say(f"== {step}")
        if subprocess.call([str(PYTHON), "-m", *step.split()], cwd=ROOT) != 0:
            raise SystemExit(f"dev.py check: `{step}` failed; what comes after it was not run.")


def compile_locks(folder: Path, *options: str) -> None:
    """Write both locks into `folder`, keeping each pin already there that pyproject.toml allows."""
    command = [str(PYTHON), "-m", *COMPILE.split(), "--python-version", "3.11", *options]
    command += ["--custom-compile-command", "python3 dev.py lock", "pyproject.toml", "-o"]
    run_lock, dev_lock = str(folder / RUN_LOCK.name), str(folder / DEV_LOCK.name)
    for more in ([run_lock], [dev_lock, "--group", "dev", "-c", run_lock]):
        if subprocess.call([*command, *more], cwd=ROOT, stdout=DEVNULL) != 0:
            raise SystemExit("dev.py lock: uv could not resolve the packages; its words are above.")


def check_locks() -> None:
    """Fail, naming what differs, unless the locks are what pyproject.toml gives today.

    The present locks are the starting point, so a newer release on the index changes nothing.
    """
    with tempfile.TemporaryDirectory() as scratch:
        for lock in (RUN_LOCK, DEV_LOCK):
            shutil.copy(lock, scratch)
        compile_locks(Path(scratch))
        for lock in (RUN_LOCK, DEV_LOCK):
            here, there = lock.read_text(), (Path(scratch) / lock.name).read_text()
            if here != there:
                old, new = ({x for x in text.splitlines() if "==" in x} for text in (here, there))
                changes = sorted([*(f"- {x}" for x in old - new), *(f"+ {x}" for x in new - old)])
                named = "\n".join(x.rstrip(" \\") for x in changes) or "(only hashes or comments)"
                cure = "Run `python3 dev.py lock` and commit what it writes."
                raise SystemExit(f"{lock.name} is not what pyproject.toml gives:\n{named}\n{cure}")


def audit(*options: str) -> None:
    """Ask for known vulnerabilities of every pin of the development lock, which contains the other."""
    pins = [line.rstrip(" \\") for line in DEV_LOCK.read_text().splitlines() if "==" in line]
    with tempfile.TemporaryDirectory() as scratch:
        wanted = {"name": "locked", "version": "0", "requires-python": ">=3.11", "dependencies": pins}
        lines = [f"{name} = {json.dumps(value)}" for name, value in wanted.items()]
        Path(scratch, "pyproject.toml").write_text("\n".join(["[project]", *lines]))
        command = [str(PYTHON), *AUDIT.split(), *options]
        code = subprocess.call(command, cwd=scratch, env={"UV_HTTP_RETRIES": "1", **os.environ})
    if code == UNANSWERED:
        say("\n****  NOT AUDITED: uv's words are above. Nobody was asked about any package.  ****\n")
        raise SystemExit(TRY_LATER)
    if code != 0:
        raise SystemExit("dev.py audit: see above; `python3 dev.py lock --upgrade-package NAME` mends one.")
    say(f"{len(pins)} packages have no vulnerability that osv.dev knows of.")


def main(word: str = "--help", *rest: str) -> None:
    """Run one command; `word` is the first argument of the command line."""
    if word in ("--help", "-h", "help"):
        print(HELP)
        return
    if word == "check" and rest:
        raise SystemExit(f"dev.py check takes nothing else.\n\n{HELP}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # a pip or uv under way ends with us
    prepare(DEV_LOCK if word in ("test", "check", "lock", "audit", "bench") else RUN_LOCK)
    if word == "check":
        check()
    elif word == "lock" and rest == ("--check",):
        check_locks()
        say("Both locks are what pyproject.toml gives.")
    elif word == "audit":
        audit(*rest)
    elif word == "lock":
        compile_locks(ROOT, *rest)
    elif word == "bench":
        become("tests.bench", *rest)
    elif word == "test":
        become("pytest", *rest)
    else:
        become("app", word, *rest)


if __name__ == "__main__":
    message = refusal(sys.version_info[:3])
    if message:
        raise SystemExit(message)
    try:
        main(*sys.argv[1:])
    except KeyboardInterrupt:
        raise SystemExit(130) from None
