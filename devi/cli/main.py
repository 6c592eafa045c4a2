"""The `devi` command: one file a command, one place where errors become messages and exit codes."""

from __future__ import annotations

import errno
import sys
import warnings
from collections.abc import Sequence
from typing import TextIO

import typer

import devi
from devi.cli import analyze, calibrate, convert, demo, detect, doctor, names, repair, show, train, verify
from devi.cli.answer import only_documents
from devi.cli.exit_codes import Exit
from devi.cli.usage import usage_message
from devi.cli.waiting import sleep_soon
from devi.errors import DeviError, Notice, shown, system_error

KEEPING = ("train", "analyze", "convert", "demo")  # these go on where they were
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

# What the operating system refuses and the user can change; anything else it refuses is a bug of ours.
USERS_OWN = {
    errno.ENOSPC: "Free some space, then run it again, or give another --out.",
    errno.EDQUOT: "Your quota is used up; give another place with --out.",
    errno.EFBIG: "Files here may not grow so large; give another place with --out.",
    errno.EACCES: "You may not read or write there. Change its permissions, or give another place.",
    errno.EPERM: "You may not read or write there. Change its permissions, or give another place.",
    errno.ENAMETOOLONG: "No file can have so long a name. Give a shorter one.",
    errno.EROFS: "That file system is read-only. Give another place with --out.",
    errno.ENOENT: "There is no such place to write to. Give another --out.",
    errno.ELOOP: "Its links lead in a circle. Give another --out.",
    errno.ENOTDIR: "A part of that path is a file, not a directory. Give another place with --out.",
    errno.EEXIST: "Something else has that name. Give another place with --out.",
}

app = typer.Typer(
    name="devi",
    help=f"{devi.__doc__}\n\nTry: devi demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("demo", short_help="Train both built-in models and analyze them")(demo.demo)
app.command("train", short_help="Train a task, keep dense checkpoints")(train.train)
app.command("analyze", short_help="Find the transitions of runs, write reports")(analyze.analyze)
app.command("detect", short_help="Find the transitions in any table of curves")(detect.detect)
app.command("calibrate", short_help="Choose sampler settings for a run, show why")(calibrate.calibrate)
app.command("convert", short_help="Make a run of other programs' checkpoints")(convert.convert)
app.command("doctor", short_help="Estimate learning coefficients that are known")(doctor.doctor)
app.command("show", short_help="What is in a run")(show.show)
app.command("verify", short_help="What is damaged in a run")(verify.verify)
app.command("repair", short_help="What is whole of a damaged run as a new one")(repair.repair)
app.command("tasks", short_help="Tasks, their settings and presets")(names.tasks)
app.command("metrics", short_help="Metrics, their settings and sources")(names.metrics)


_show_other = warnings.showwarning
_told: set[str] = set()


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """devi's own warnings as lines for the user, once each; others as Python shows them."""
    if not issubclass(category, Notice):
        _show_other(message, category, filename, lineno, file, line)
    elif str(message) not in _told:
        _told.add(str(message))
        print(f"devi: {message}", file=sys.stderr)


warnings.showwarning = _show_warning  # here, not in main(): processes of --workers import this file, and call no main


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit; the entry point of the `devi` script."""
    sleep_soon()
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code. Tests call this."""
    try:
        with only_documents(sys.argv[1:] if arguments is None else arguments):
            code = app(list(arguments) if arguments is not None else None, prog_name="devi", standalone_mode=False)
        if code == Exit.INTERRUPTED:
            print(f"devi: interrupted; {_kept(arguments)}", file=sys.stderr)
        return int(code or Exit.DONE)
    except DeviError as error:
        # What a file says may be part of the message: no control character of it reaches the terminal.
        print("devi: " + "\n".join(shown(line, 4000) for line in str(error).split("\n")), file=sys.stderr)
        return Exit.ERROR
    except (typer.Abort, KeyboardInterrupt):
        print(f"devi: interrupted; {_kept(arguments)}", file=sys.stderr)
        return Exit.INTERRUPTED
    except typer.Exit as stop:
        return stop.exit_code
    except typer.TyperException as error:
        words = list(arguments) if arguments is not None else sys.argv[1:]
        known = [str(command.name) for command in app.registered_commands]
        print(f"devi: {usage_message(error, words, known)}", file=sys.stderr)
        return Exit.USAGE
    except Exception as error:
        refusal = system_error(error)
        reason = USERS_OWN.get(refusal.errno or 0) if refusal else None
        if refusal is None or reason is None:
            return _bug()
        kept = f"; {_kept(arguments)}" if refusal.errno in FULL else "."
        print(f"devi: {refusal.filename or 'writing'}: {refusal.strerror}{kept} {reason}", file=sys.stderr)
        return Exit.ERROR


def _kept(arguments: Sequence[str] | None) -> str:
    """What an end before the end leaves of the command's work."""
    words = sys.argv[1:] if arguments is None else arguments
    if any(word in KEEPING for word in words[:1]):
        return "everything finished so far is kept."
    return "this command keeps nothing for the next time."


def _bug() -> int:
    import traceback

    traceback.print_exc()
    print("devi: this is a bug in devi, not something you did. Please report the lines above.", file=sys.stderr)
    return Exit.BUG


if __name__ == "__main__":
    main()
