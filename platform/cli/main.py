"""`camsweep`: puts the commands together and turns every wrong input into one line.

Exit status: 0 all is well, 1 some trials failed, 2 the input was wrong, 130 stopped by Ctrl-C.
Nothing heavy is imported here or at the top of a command's file, so that `--help` is quick.
"""

from __future__ import annotations

import errno
import gc
import os
import sys
from collections.abc import Sequence
from typing import Any

import typer

from camsweep.platform.cli import (
    bench,
    cluster,
    leaderboard,
    plan,
    quickstart,
    report,
    results,
    run,
    shards,
    status,
    sweeps,
    weights,
)
from camsweep.shards.errors import InputError

#: The exit status of a command that Ctrl-C ended.
STOPPED = 130

#: Typer carries its own copy of click and names only some of its exceptions.
UsageError: type[Exception] = typer.BadParameter.__mro__[1]

app = typer.Typer(
    name="camsweep",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""Run and report ablation sweeps of weakly supervised segmentation methods.

    Start with [bold]camsweep quickstart[/bold]: embedded data, a small sweep, a report.
    Any command takes [bold]--debug[/bold] to show the traceback of an error.""",
)
app.command("quickstart")(quickstart.quickstart)
app.add_typer(shards.app, name="shards")
app.command("sweeps")(sweeps.sweeps)
app.command("plan")(plan.plan)
app.command("run")(run.run)
app.command("status")(status.status)
app.command("report")(report.report)
app.command("leaderboard")(leaderboard.leaderboard)
app.add_typer(results.app, name="results")
app.add_typer(weights.app, name="weights")
app.command("bench")(bench.bench)
app.command("cluster")(cluster.cluster)


@app.callback(invoke_without_command=True)
def _version(
    version: bool = typer.Option(False, "--version", help="Print the version and exit."),
) -> None:
    if version:
        from importlib import metadata

        typer.echo(f"camsweep {metadata.version('camsweep')}")
        raise typer.Exit


def main(argv: Sequence[str] | None = None) -> int:
    """The console script. Returns the exit status."""
    try:
        return _status(argv)
    finally:
        if argv is None and "torch" not in sys.modules:
            # The process ends, and with it all there is: no need to walk through it before. With
            # torch, triton would complain of what is left.
            gc.freeze()


def _status(argv: Sequence[str] | None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    os.environ["CAMSWEEP_DEBUG"] = "1" if debug else ""
    words = _with_number(words, "--repeat", 1)
    words = _with_number(words, "--watch", report.WATCH_SECONDS)
    try:
        result = app(words, standalone_mode=False)
        status = int(result) if isinstance(result, int) else 0
        # Typer turns Ctrl-C in a command into this status.
        return _stopped() if status == STOPPED else status
    except typer.Exit as done:
        return done.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return _stopped()
    except UsageError as error:
        if debug:
            raise
        return _say(_usage(error), 2)
    except InputError as error:
        if debug:
            raise
        return _say(_one_line(str(error)), 2)
    except OSError as error:
        if debug or error.errno not in (
            errno.EACCES,
            errno.EDQUOT,
            errno.EEXIST,
            errno.EIO,
            errno.EISDIR,
            errno.ELOOP,
            errno.ENAMETOOLONG,
            errno.ENOENT,
            errno.ENOSPC,
            errno.ENOTDIR,
            errno.EPERM,
            errno.EROFS,
        ):
            raise
        return _say(f"{error.filename or 'disk'}: {error.strerror}", 2)


def _with_number(words: list[str], option: str, number: int) -> list[str]:
    """The words, a number behind an option that stands alone: Typer knows no optional values."""
    if option in words:
        behind = words.index(option) + 1
        if not (words[behind:] and words[behind].isdigit()):
            return [*words[:behind], str(number), *words[behind:]]
    return words


def _stopped() -> int:
    return _say("stopped; the same command goes on where it was", STOPPED)


def _usage(error: Any) -> str:
    """The error in one line; a command without words has shown its help, which says enough."""
    words = getattr(error.ctx, "command_path", "camsweep").split(" ")
    where = " ".join(["camsweep", *words[1:]])
    message = _one_line(error.format_message()) or "what shall be done?"
    return f"{message} (see `{where} --help`)"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _say(line: str, status: int) -> int:
    print(f"camsweep: {line}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
