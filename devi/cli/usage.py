"""What is said of a command line that cannot be understood: the value that is wrong, and whose help to read."""

from __future__ import annotations

import pydantic
import typer


def usage_message(error: typer.TyperException, words: list[str], commands: list[str]) -> str:
    """One sentence or two and what to type next, without the program's name.

    words  what was typed after `devi`
    """
    message = error.format_message()
    cause = error.__cause__ or error.__context__
    if isinstance(cause, pydantic.ValidationError):
        first = cause.errors()[0]
        message = message.replace(first["msg"], f"'{first['input']}'. {first['msg'].partition(',')[0]}")
    end = "" if message.endswith((".", "?")) else "."
    command = f"{words[0]} " if words[:1] and words[0] in commands else ""
    return f"{message}{end} Try: devi {command}--help"
