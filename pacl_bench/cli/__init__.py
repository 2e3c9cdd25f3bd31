"""The command line. A command parses and calls one function; torch is imported only where it works."""

import io
import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from pacl_bench import __version__
from pacl_bench.cli import bench, cache, data, heads, listing, measuring, report, show, training, world
from pacl_bench.cli.app import App
from pacl_bench.cli.threads import set_up_threads
from pacl_bench.errors import RunError, UsageError, out_of_memory
from pacl_bench.evaluators import other_evaluators
from pacl_bench.processes import LOST, ProcessLost
from pacl_bench.signals import ignore_ctrl_c, stopped_as_by_ctrl_c


class Commands(TyperGroup):
    """The commands of this package, and one for each evaluator that another package adds."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        own = super().get_command(ctx, cmd_name)
        return own if own is not None or cmd_name not in other_evaluators() else _command_of(cmd_name)


def _command_of(evaluator: str) -> Any:
    alone = App(add_completion=False)
    alone.command(evaluator)(measuring.command_of(evaluator))
    return typer.main.get_command(alone)


app = App(
    name="pacl-bench",
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for command in (
    training.quickstart,
    training.train,
    measuring.patches,
    measuring.coherence,
    measuring.segment,
    measuring.classify,
    training.ablate,
    training.run,
    report.report,
    report.explain,
):
    app.command()(command)
app.command("list")(listing.list_)
app.add_typer(data.app, name="data")
app.add_typer(show.app, name="show")
app.add_typer(heads.app, name="head")
app.add_typer(world.app, name="world")
app.add_typer(cache.app, name="cache")
app.add_typer(bench.app, name="bench")


def _print_version(asked: bool) -> bool:
    if asked:
        print(f"pacl-bench {__version__}")
        raise typer.Exit
    return asked


@app.callback()
def every_command(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Say which version this is.")
    ] = False,
) -> None:
    """Benchmark and analysis of patch-level vision-language alignment, built on PACL (CVPR 2023)."""


INTERRUPTED = 130  # what Typer makes of Ctrl-C


def main() -> None:
    """Runs a command. Exit code 0: done, 1: failed, 2: wrong usage; every error is one line on stderr."""
    _speak_every_locale()
    set_up_threads(os.environ)
    try:
        with stopped_as_by_ctrl_c():
            code = app(standalone_mode=False)
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:  # `pacl-bench list encoders | head`
        code = 0
    except Exception as error:
        code = _complain(*_told(error))
    finally:
        ignore_ctrl_c()
    if code == INTERRUPTED:
        code = _complain("Stopped. What was finished is kept; the same command goes on from there.", 1)
    _drop_what_cannot_be_printed()
    sys.exit(code if isinstance(code, int) else 0)


def _told(error: Exception) -> tuple[str, int]:
    """The line and the exit code that an error ends a command with; an error in the program itself is raised again."""
    if isinstance(error, UsageError):
        return str(error), 2
    if isinstance(error, ProcessLost):
        return str(error), LOST
    if isinstance(error, RunError | UnicodeDecodeError):
        return str(error), 1
    if isinstance(error, RuntimeError) and str(error).startswith("Symlink loop"):  # of Python before 3.13
        return f"{error}.", 2
    no_memory = out_of_memory(error)
    if no_memory:
        return no_memory, 1
    if isinstance(error, OSError):  # a file in place of a folder, a disk that fails
        return f"{error.filename or 'The output'}: {error.strerror or error}.", 1
    # what Typer's parser raises; newer versions carry their own copy of click, so it is known by what it can do
    if hasattr(error, "format_message"):
        return error.format_message(), 2  # type: ignore[attr-defined]
    raise error


def _speak_every_locale() -> None:
    """What the machine's locale has no letter for is printed as its number, rather than ending the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _drop_what_cannot_be_printed() -> None:
    """Where the output is closed or its disk is full, Python would fail once more at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _complain(message: str, code: int) -> int:
    if message:  # without arguments a command shows its help, and that is all
        print(f"pacl-bench: {' '.join(message.split())}", file=sys.stderr)
    return code
