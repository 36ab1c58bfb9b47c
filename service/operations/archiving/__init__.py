"""Writes the archive: copies topics into range files, applies retention, verifies, and backfills older files.

Imported by `bootstrap`, through which the command line reaches it; no other package of operations imports it.
Begin with `archiver.Archiver`; `partition.PartitionArchiver` lists the order in which file and row become durable.
"""
