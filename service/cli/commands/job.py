"""`headrace job`: list, show, start and stop training jobs."""

import time
from typing import Annotated

import typer

from service.cli.completion import model_names
from service.cli.context import (
    ConfigOption,
    ExitCode,
    JsonOption,
    actor,
    app_for_command,
    out,
    reading,
    say,
    show_json,
    show_rows,
)
from service.lazy import lazy_imports

with lazy_imports():
    from service import bootstrap
    from service.bootstrap import training
    from service.cli.printing import job_page
    from service.domain.training import jobs
    from service.operations.reporting import describe
    from service.operations.retraining import decide as retraining_decision

POLL_EVERY_S = 0.5

app = typer.Typer(no_args_is_help=True)
Number = Annotated[int, typer.Argument(help="The job's number.")]
Reason = Annotated[str, typer.Option(help="Why, for the record.")]
Wait = Annotated[bool, typer.Option("--wait", help="Wait until it has ended.")]


@app.command("list")
def print_jobs(
    model: Annotated[str | None, typer.Argument(help="Only those of this model.", autocompletion=model_names)] = None,
    config: ConfigOption = None,
    limit: Annotated[int, typer.Option(min=1, help="How many to list at most.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """List training jobs, newest first."""
    with reading(config) as app_:
        if model is not None:
            app_.registry.models.get(model)
        found = app_.registry.jobs.list(model, limit=limit)
        if as_json:
            show_json([job_page.structured(one) for one in found])
        else:
            show_rows([job_page.row(one) for one in found], job_page.JOBS, none=job_page.NO_JOBS)


@app.command("show")
def print_job(number: Number, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show one job with every state it entered, when and why."""
    with reading(config) as app_:
        found = describe.job_details(app_.services, app_.registry.jobs.get(jobs.JobId(number)))
        if as_json:
            show_json(found)
        else:
            job_page.print_job_page(out, found)


@app.command()
def logs(number: Number, config: ConfigOption = None) -> None:
    """Print the output of the job's process; only on the host where it ran."""
    with reading(config) as app_:
        job = app_.registry.jobs.get(jobs.JobId(number))
        text = training.job_log(job)
        if text:
            typer.echo(text, nl=False)
        else:
            say(f"found nothing at {job.log}" if job.log else f"job {number} has had no process yet")


@app.command()
def start(
    model: Annotated[str, typer.Argument(help="The model's name.", autocompletion=model_names)],
    config: ConfigOption = None,
    wait: Wait = False,
    reason: Reason = "",
) -> None:
    """Request a retraining of the model on its history; the result is a version that does not serve yet."""
    with app_for_command(config) as app_:
        job = retraining_decision.request_manual_job(app_.services, model, actor=actor(), reason=reason)
        say(f"job {job.id} of {model} {job.state}")
        _warn_without_trainer(app_, model)
        if wait:
            _wait_for_end(app_, job.id)


@app.command()
def stop(number: Number, config: ConfigOption = None, wait: Wait = False, reason: Reason = "") -> None:
    """Stop a job; its final state is Stopped."""
    with app_for_command(config) as app_:
        job = app_.registry.jobs.stop(jobs.JobId(number), actor=actor(), reason=reason)
        say(f"job {job.id} of {job.model} {job.state}")
        if job.state not in jobs.FINAL_STATES:
            _warn_without_trainer(app_, job.model)
        while wait and job.state not in jobs.FINAL_STATES:
            time.sleep(POLL_EVERY_S)
            job = app_.registry.jobs.get(job.id)
        if wait:
            say(_end_line(app_, job))


def _warn_without_trainer(app_: "bootstrap.App", model: str) -> None:
    if training.live_trainer(app_.services, model) is None:
        say(f"no trainer runs for {model}: the job waits for `headrace train` or `headrace run`")


def _wait_for_end(app_: "bootstrap.App", number: "jobs.JobId") -> None:
    """Follow a job and its retries to the end; exit with 1 unless the last one completes."""
    printed_state = None
    while (job := app_.registry.jobs.get(number)).state not in jobs.FINAL_STATES:
        if job.state is not printed_state:
            printed_state = job.state
            say(f"job {number} {printed_state}")
        time.sleep(POLL_EVERY_S)
    say(_end_line(app_, job))
    after = [one for one in app_.registry.jobs.list(job.model) if one.retry_of == number]
    if after:
        say(f"job {after[0].id} is attempt {after[0].attempt}")
        _wait_for_end(app_, after[0].id)
    elif job.state is not jobs.JobState.COMPLETED:
        raise typer.Exit(ExitCode.FAILED)


def _end_line(app_: "bootstrap.App", job: "jobs.Job") -> str:
    reason = app_.registry.jobs.transitions(job.id)[-1].reason
    return f"job {job.id} of {job.model} {job.state}: {reason}"
