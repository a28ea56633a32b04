"""HTTP endpoints on top of `compressor.runtime` and `compressor.gallery`. Torch-free."""
