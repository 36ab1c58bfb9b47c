"""`headrace stream`: publish to a model's topic, and look at it."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Annotated

import typer

from service.cli.completion import model_names
from service.cli.context import ConfigOption, say, settings_for_command
from service.errors import ConfigurationError, RefusedError
from service.lazy import lazy_imports

with lazy_imports():
    from service import bootstrap
    from service.bootstrap import streams
    from service.cli import terminal
    from service.domain.specification import model as specification
    from service.domain.stream import events as records
    from service.domain.stream import position
    from service.ports import stream as stream_ports
    from service.stream import publish as publishing
    from service.stream.decoding import factory as decoders
    from service.stream.decoding import labels as label_layouts

app = typer.Typer(no_args_is_help=True)
Model = Annotated[str, typer.Argument(help="The model's name.", autocompletion=model_names)]


@app.command()
def publish(
    model: Model,
    source: Annotated[
        str, typer.Argument(metavar="FILE", help="JSONL, CSV or Parquet, - for stdin, or river:Phishing.")
    ],
    config: ConfigOption = None,
    rate: Annotated[float | None, typer.Option(min=0.001, help="Events a second.")] = None,
    repeat: Annotated[int, typer.Option(min=1, help="How many times to send the file.")] = 1,
    partitions: Annotated[int, typer.Option(min=1, help="The number of partitions, if the topic is new.")] = 1,
    check: Annotated[bool, typer.Option(help="Send nothing if any event would be refused.")] = False,
    labels: Annotated[
        bool, typer.Option("--labels", help="Lines are labels, for the model's topic of labels.")
    ] = False,
) -> None:
    """Append events to the model's topic."""
    with settings_for_command(config) as settings:
        spec = bootstrap.configured_spec(settings, model)
        topic, fields = _target_topic(spec, labels=labels), _layout(spec, labels=labels)
        events = publishing.read_events(source, fields=fields)
        if check:
            events = _require_valid(decoders.make_decoder(spec), list(events), topic=topic)
        sink = streams.open_sink(settings)
        sink.create(topic, partitions=partitions)
        with terminal.counting() as progress:
            task = progress.add_task(f"to {topic}", total=None)
            count = publishing.publish_events(
                sink,
                topic,
                publishing.repeat_events(events, repeat, id_path=(fields and fields.id) or "id"),
                rate=rate,
                on_progress=lambda sent: progress.update(task, completed=sent),
            )
        sink.close()
        say(f"{count} {'labels' if labels else 'events'} are in {topic}")


@app.command()
def tail(
    model: Model,
    config: ConfigOption = None,
    count: Annotated[int, typer.Option("-n", min=0, help="How many of each partition's newest to print.")] = 10,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for more.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object a line.")] = False,
) -> None:
    """Print the newest events of the model's topic, as they are."""
    with settings_for_command(config) as settings:
        spec = bootstrap.configured_spec(settings, model)
        with closing(streams.open_source(settings, f"{model}-tail")) as reader:
            bounds = reader.bounds([spec.events])
            reader.assign(position.Position({at: max(found.end - count, found.start) for at, found in bounds.items()}))
            behind = {at for at, found in bounds.items() if count and found.end > found.start}
            while behind or follow:
                for run in reader.poll(timeout_s=1.0, limit=500):
                    _print_records(run, as_json=as_json)
                    if run.next_offset >= bounds[run.at].end:
                        behind.discard(run.at)


def _print_records(run: "records.Records", *, as_json: bool) -> None:
    """Print a line for each record and flush, so that a reader of the pipe gets it at once."""
    for offset, ts, raw in zip(run.offsets, run.timestamps, run.values, strict=True):
        value, partition = raw.decode(errors="backslashreplace"), run.at.partition
        line = f"{partition}:{offset} {value}"
        if as_json:
            line = json.dumps({"partition": partition, "offset": offset, "ts": ts, "value": value})
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _target_topic(spec: "specification.ModelSpec", *, labels: bool) -> str:
    if not labels:
        return spec.events
    if spec.labels is None:
        msg = f"found no `labels:` for {spec.name} in the configuration, expected the name of its topic of labels"
        raise ConfigurationError(msg)
    return spec.labels


def _layout(spec: "specification.ModelSpec", *, labels: bool) -> "specification.FieldsSpec | None":
    """Return the layout of a file's rows; those of labels are flat, since `x` is what makes a row an event."""
    if not labels:
        return spec.fields
    layout = label_layouts.label_layout(spec.fields, spec.label_fields)
    return specification.FieldsSpec() if layout is None else specification.FieldsSpec(**layout.model_dump())


def _require_valid(decoder: "stream_ports.Decoder", values: list[bytes], *, topic: str) -> Iterator[bytes]:
    """Return the values if a learner would accept their form; raise RefusedError otherwise."""
    now = time.time_ns() // 1_000_000
    run = records.Records(
        records.TopicPartition(topic, 0), range(len(values)), [now] * len(values), values, len(values)
    )
    refusals = decoder.decode(run).refusals
    if refusals:
        first = refusals[0]
        count_text = f"found {len(refusals)} of {len(values)} events refused"
        msg = f"{count_text}, the first at line {first.offset + 1}: {first.reason}: {first.detail}"
        raise RefusedError(msg)
    return iter(values)
