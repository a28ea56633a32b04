"""The `student` section: which model is trained."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from compressor.recipe.blip import BlipStudent
from compressor.recipe.models import InheritedStudent, StudentSection

Student = Annotated[StudentSection | InheritedStudent | BlipStudent, Field(discriminator="kind")]
