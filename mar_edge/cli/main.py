"""Entry point of `mar-edge`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from mar_edge.child_process import protect_children
from mar_edge.cli import (
    calibrate,
    cameras,
    classify,
    evaluate,
    export,
    importing,
    init,
    inspect,
    models,
    profile,
    run,
    train,
    verify,
)
from mar_edge.cli.data import commands as data
from mar_edge.cli.endings import (
    code_of_interruption,
    exit_on_signals,
    one_line,
    print_thread_errors_in_one_line,
    stopped_by,
)
from mar_edge.cli.recording import record
from mar_edge.cli.standard_streams import ignore_zero_width, open_standard_streams, print_line
from mar_edge.credentials import without_credentials
from mar_edge.errors import MarEdgeError
from mar_edge.printable import printable
from mar_edge.version import __version__


class Commands(TyperGroup):
    """The commands; error messages that quote a command line hide passwords and control characters."""

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """Read the options of `mar-edge` itself."""
        with _literal_messages():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: Any) -> Any:
        """Run the command of the command line."""
        with _literal_messages():
            return super().invoke(ctx)


@contextmanager
def _literal_messages() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if hasattr(error, "format_message"):  # click's, which typer contains under changing names
            vars(error)["message"] = printable(without_credentials(str(vars(error).get("message", ""))))
        raise


app = typer.Typer(
    cls=Commands,
    name="mar-edge",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Recognise actions in live video on edge devices while looking at only half of the pixels.",
)
app.command("run")(run.run)
app.command("record")(record.record)
app.command("classify")(classify.classify)
app.command("init")(init.init)
app.command("train")(train.train)
app.command("pretrain")(train.pretrain)
app.command("evaluate")(evaluate.evaluate)
app.add_typer(data.app, name="data")
app.command("import")(importing.import_)
app.command("export")(export.export)
app.command("calibrate")(calibrate.calibrate)
app.command("verify")(verify.verify)
app.command("profile")(profile.profile)
app.command("inspect")(inspect.inspect)
app.command("models")(models.models)
app.command("cameras")(cameras.cameras)


def _version(wanted: bool) -> None:
    if wanted:
        print_line(__version__, stdout=True)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command line; an error of mar-edge or of the machine is one line and exit code 1."""
    protect_children()
    ignore_zero_width()
    open_standard_streams()
    print_thread_errors_in_one_line()
    exit_on_signals()  # `run` and `train` handle signals themselves
    try:
        try:
            app()
        finally:
            sys.stdout.flush()  # here, where it may fail
    except (MarEdgeError, MemoryError, OSError) as error:
        if (number := stopped_by()) is not None:
            sys.exit(128 + number)
        line = one_line(error)
        if line is None:
            raise
        print_line(f"mar-edge: {line}")
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except ImportError as error:
        if (code := code_of_interruption(error)) is None:
            raise
        sys.exit(code)
