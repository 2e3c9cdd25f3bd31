"""The command line. A command parses and calls one function; torch is imported only where it works."""

import os
import sys

import typer

from pacl_bench.cli import bench, cache, data, listing, measuring, report, show, training, world
from pacl_bench.errors import RunError, UsageError

app = typer.Typer(
    name="pacl-bench",
    help="Benchmark and analysis of patch-level vision-language alignment, built on PACL (CVPR 2023).",
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
    measuring.run,
    report.report,
):
    app.command()(command)
app.command("list")(listing.list_)
app.add_typer(data.app, name="data")
app.add_typer(show.app, name="show")
app.add_typer(world.app, name="world")
app.add_typer(cache.app, name="cache")
app.add_typer(bench.app, name="bench")

INTERRUPTED = 130  # what Typer makes of Ctrl-C


def main() -> None:
    """Runs a command. Exit code 0: done, 1: failed, 2: wrong usage; every error is one line on stderr."""
    try:
        code = app(standalone_mode=False)
    except UsageError as error:
        code = _complain(str(error), 2)
    except RunError as error:
        code = _complain(str(error), 1)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:  # `pacl-bench list encoders | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except (OSError, UnicodeDecodeError) as error:  # a file in place of a folder, a full disk, a foreign encoding
        code = _complain(str(error), 1)
    except Exception as error:
        # what Typer's parser raises; newer versions carry their own copy of click, so it is known by what it can do
        if not hasattr(error, "format_message"):
            raise
        code = _complain(error.format_message(), 2)  # type: ignore[attr-defined]
    if code == INTERRUPTED:
        code = _complain("Stopped. What was finished is kept; the same command goes on from there.", 1)
    sys.exit(code if isinstance(code, int) else 0)


def _complain(message: str, code: int) -> int:
    print(f"pacl-bench: {' '.join(message.split())}", file=sys.stderr)
    return code
