"""`compressor export`: the bundle of a model that was trained elsewhere.

`source` says what a folder or file is, `request` what is asked for, `samples` on what it is compared, and
`export` does it with the loaders of teachers and the writers of bundles that runs use.
"""
