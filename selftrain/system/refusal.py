"""How a program says that it refuses: the message is the last thing on the screen, or plainly the loudest.

A launcher above a program knows of its exit code alone, and prints a traceback of its own after the message.
"""

import contextlib
import json
import os
import sys
import time
from pathlib import Path

import psutil
from rich import box
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

_NOTE = (
    "(What stands below is accelerate's launcher, which adds nothing to this message but the exit code; "
    "`accelerate launch --quiet ...` leaves it out.)"
)


def show_refusal(message: str) -> None:
    """Print a message to stderr as `error: MESSAGE`: on a terminal in red between two lines, else as it is.

    Where accelerate's launcher will print a traceback after it, a note says so and names the option that
    prevents it.  Where torch's launcher started this process, the message goes into its table of failures
    too, which is what that launcher prints last.
    """
    note = _NOTE if _launcher_is_loud() else ""
    console = Console(stderr=True)
    if console.is_terminal:
        # lines above and below only: a command in the message can be copied
        text = Text.assemble((f"error: {message}", "bold red"), f"\n\n{note}" if note else "")
        console.print()
        console.print(Panel(text, box=box.HORIZONTALS, border_style="bold red"))
        console.print()
    else:
        print(f"\nerror: {message}\n" + (f"{note}\n" if note else ""), file=sys.stderr)
    _tell_torch(message)


def _launcher_is_loud() -> bool:
    """Whether the process above is accelerate's launcher without --quiet, and not torch's within it."""
    if "TORCHELASTIC_ERROR_FILE" in os.environ:
        return False
    with contextlib.suppress(psutil.Error):
        words = psutil.Process(os.getppid()).cmdline()
        words = words[: words.index(sys.argv[0])] if sys.argv[0] in words else words  # without this program's
        launches = any("accelerate" in Path(word).name for word in words[:4])
        return launches and not {"--quiet", "-q"} & set(words)
    return False


def _tell_torch(message: str) -> None:
    """Leave the message where torch's launcher looks for it, in the form that its error handler writes."""
    file = os.environ.get("TORCHELASTIC_ERROR_FILE")
    if not file:
        return
    told = {"py_callstack": f"error: {message}", "timestamp": str(int(time.time()))}
    with contextlib.suppress(OSError):  # the message itself has been printed
        Path(file).write_text(json.dumps({"message": {"message": message, "extraInfo": told}}))
