"""`inherit: uniform`: a smaller student that starts as a part of its teacher (TinyCLIP, arXiv 2309.12314).

The student is a dense model of the teacher's own family with a smaller configuration. Its layers are spread
evenly over the teacher's; of each layer it keeps the leading channels, the first heads and the leading units
of the MLP. No value is changed: what a weight loses is gone, and training with the teacher's signals mends
it.
"""

from __future__ import annotations

from typing import Any

from compressor.errors import ModelError
from compressor.students.encoder import Model
from compressor.students.inherit_plan import InheritancePlan
from compressor.students.inherit_sizes import Cut
from compressor.students.weights import load_weights, model_fingerprint
from compressor.teachers.wrapped import WrappedEncoder


def plan_inheritance(config: dict[str, Any], cut: Cut) -> InheritancePlan:
    """What a student of these sizes is made of, found from its teacher's `Model.config` alone.

    Its `build` makes the student without the weights (under `torch.device("meta")` for nothing at all), which
    is what counting parameters and operations needs. Raises `ModelError` for a teacher that is not a CLIP of
    two plain transformers and for sizes that it cannot give.
    """
    family = config.get("family")
    if family == "open_clip":
        from compressor.students.inherit_open_clip import plan_open_clip

        return plan_open_clip(config, cut)
    if family == "transformers":
        from compressor.students.inherit_transformers import plan_transformers

        return plan_transformers(config, cut)
    raise ModelError(
        f"weights cannot be inherited from a teacher of family '{family}': it must be a CLIP of open_clip or "
        "transformers"
    )


def inherit_uniform(teacher: Model, cut: Cut) -> Model:
    """A student made of the teacher's weights, in fp32, trainable, in evaluation mode.

    Preprocessing, activation and temperature are the teacher's own. Asked for the teacher's own sizes it
    gives the teacher's own embeddings. A student may itself be inherited from: TinyCLIP compresses in stages.
    Raises as `plan_inheritance` does.
    """
    plan = plan_inheritance(teacher.config, cut)
    assert isinstance(teacher.encoder, WrappedEncoder)
    encoder = plan.build()
    weights = plan.weights(encoder.model.state_dict(), teacher.encoder.model.state_dict())
    load_weights(encoder.model, weights, teacher.name, "the student made out of it")
    encoder.eval()
    image, text = plan.image.student, plan.text.student
    return Model(
        name=f"{teacher.name} cut to {image.layers}x{image.width} + {text.layers}x{text.width}",
        encoder=encoder,
        preprocessor=teacher.preprocessor,
        fingerprint=model_fingerprint(encoder, teacher.preprocessor.fingerprint),
        origin=f"made out of {teacher.origin}: image {plan.image.describe()}; text {plan.text.describe()}",
        licence=teacher.licence,
        config=plan.config,
    )
