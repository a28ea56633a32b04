"""Teachers from a checkpoint folder of this project, whatever family the model is of."""

from __future__ import annotations

from pathlib import Path

from compressor.errors import ModelError
from compressor.students.checkpoint import finish, load_checkpoint, read_description, read_preprocessor
from compressor.students.encoder import Model


def load_any_checkpoint(folder: Path | str) -> Model:
    """A student, or a fine-tuned open_clip or transformers teacher, from its checkpoint folder.

    Raises `ModelError` for a folder that is not whole, is damaged, or is of an unknown family.
    """
    path = Path(folder)
    described = read_description(path)
    family = described["family"]
    if family == "student":
        return load_checkpoint(path)
    if family == "open_clip":
        from compressor.teachers.open_clip_teacher import rebuild_open_clip

        return finish(described, rebuild_open_clip(described), read_preprocessor(path), path)
    if family == "transformers":
        from compressor.teachers.transformers_teacher import rebuild_transformers

        return finish(described, rebuild_transformers(described), read_preprocessor(path), path)
    raise ModelError(f"{path} holds a model of family '{family}', which this version does not know")
