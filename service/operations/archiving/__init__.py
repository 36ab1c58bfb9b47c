"""Writing the archive: copy topics into range files, apply retention, verify, backfill older files.

Imported by `bootstrap`, through which the command line reaches it; no other package of operations imports it.
Begin with `archiver.Archiver`; `partition.PartitionArchiver` has the order in which a file and its row become durable.
"""
