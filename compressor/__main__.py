"""`python -m compressor` is `compressor`."""

from compressor.cli import main

main()
