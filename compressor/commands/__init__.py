"""The commands, one a file: a function whose signature is its `--help`, listed in `compressor.cli`.

A command parses, calls and prints. What it calls is imported inside it, so that `compressor --help` is
instant; arguments and options that several commands have are in `options`. A group of commands is one file
too, with a `typer.Typer` that `compressor.cli` adds under its name.
"""
