"""Teachers from a checkpoint folder of this project, whatever family the model is of."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from compressor.errors import ModelError
from compressor.preprocess.preprocessor import Preprocessor
from compressor.students.checkpoint import finish, read_description, read_preprocessor, rebuild_student
from compressor.students.dual_encoder import DualEncoder
from compressor.students.encoder import Model
from compressor.teachers.wrapped import WrappedEncoder

if TYPE_CHECKING:
    from compressor.teachers.blip_retrieval import BlipRetrievalEncoder


def load_any_checkpoint(folder: Path | str) -> Model:
    """A student, or a fine-tuned open_clip or transformers teacher, from its checkpoint folder.

    Raises `ModelError` for a folder that is not whole, is damaged, or is of an unknown family.
    """
    path = Path(folder)
    described, preprocessor = read_description(path), read_preprocessor(path)
    return finish(described, rebuild_any(described, preprocessor, path), preprocessor, path)


def rebuild_any(
    described: dict[str, Any], preprocessor: Preprocessor, folder: Path
) -> DualEncoder | WrappedEncoder | BlipRetrievalEncoder:
    """The encoder that a checkpoint's `config.json` describes, before its weights are loaded.

    Raises `ModelError` for an unknown family or a configuration that cannot be built.
    """
    family = described["family"]
    if family == "student":
        return rebuild_student(described, preprocessor, folder)
    if family == "open_clip":
        from compressor.teachers.open_clip_teacher import rebuild_open_clip

        return rebuild_open_clip(described)
    if family == "transformers":
        from compressor.teachers.transformers_teacher import rebuild_transformers

        return rebuild_transformers(described)
    if family == "blip_retrieval":
        from compressor.teachers.blip_retrieval import rebuild_blip_retrieval

        return rebuild_blip_retrieval(described)
    if family == "blip":
        raise ModelError(f"{folder} holds a BLIP that writes; as a teacher it is of kind blip")
    raise ModelError(f"{folder} holds a model of family '{family}', which this version does not know")
