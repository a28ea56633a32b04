"""Every precision of both towers through the parity gate, in the order of what it costs to find out."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from compressor.errors import CompressorError
from compressor.export.bundle_parts import GraphFile
from compressor.export.onnx import TowerName
from compressor.export.parity import AGREEMENT, TowerParity, judge_tower
from compressor.export.pytorch import embed_images, embed_texts
from compressor.export.retrieval_parity import RetrievalParity, compare_retrieval
from compressor.export.samples import ParitySamples
from compressor.export.structure import structural_fault
from compressor.recipe.outcome import ParityBounds, openvino_name
from compressor.runtime.opening import open_tower
from compressor.runtime.schema import ENGINE_SUFFIX, IMAGE_INPUT, IMAGE_OUTPUT, TEXT_INPUT, TEXT_OUTPUT
from compressor.runtime.tower import AnyTower
from compressor.students.encoder import Encoder, Model

log = logging.getLogger(__name__)

TOWERS: tuple[TowerName, TowerName] = ("image", "text")
_ENDS = {"image": (IMAGE_INPUT, IMAGE_OUTPUT), "text": (TEXT_INPUT, TEXT_OUTPUT)}


@dataclass(frozen=True)
class Judged:
    """One precision after the gate. `fault`: what is wrong with the two towers together."""

    image: TowerParity
    text: TowerParity
    retrieval: RetrievalParity | None = None
    fault: str = ""

    @property
    def passed(self) -> bool:
        return self.image.passed and self.text.passed and not self.fault

    @property
    def reason(self) -> str:
        """Everything that is wrong with it, or nothing."""
        towers = (("image", self.image), ("text", self.text))
        faults = [f"{name} tower: {parity.reason}" for name, parity in towers if not parity.passed]
        return "; ".join([*faults, self.fault] if self.fault else faults)


class Gate:
    """The bounds, the samples, and what PyTorch makes of them. The encoder must be ready for export."""

    def __init__(self, encoder: Encoder, samples: ParitySamples, bounds: ParityBounds) -> None:
        self.encoder, self.samples, self.bounds = encoder, samples, bounds
        self._references: dict[TowerName, NDArray[np.float32]] = {
            "image": embed_images(encoder, samples.pixel_values),
            "text": embed_texts(encoder, samples.input_ids),
        }

    def judge_file(
        self, graph: GraphFile, tower: TowerName, precision: str
    ) -> tuple[TowerParity, AnyTower | None]:
        """Structure, then loading, then the cosines and batches of one tower; the tower where it loads."""
        if graph.path.suffix != ENGINE_SUFFIX:
            fault = structural_fault(graph.path, graph.external)
            if fault:
                return TowerParity(False, fault), None
        try:
            opened = open_tower(graph.path, *_ENDS[tower], runtime=graph.runtime, compute=graph.compute)
        except CompressorError as error:
            return TowerParity(False, str(error)), None
        inputs, reference = self.samples.of(tower), self._references[tower]
        return judge_tower(opened, inputs, reference, self.bounds, agrees_like(precision, graph)), opened

    def accepts(self, path: Path, tower: TowerName, precision: str) -> bool:
        """True where this file of a tower would pass. Its weights may lie beside it."""
        data = path.with_name(f"{path.name}.data")
        return self.judge_file(GraphFile(path, data if data.exists() else None), tower, precision)[0].passed

    def judge(
        self, model: Model, graphs: Mapping[str, Mapping[TowerName, GraphFile]], judge_quality: bool
    ) -> dict[str, Judged]:
        """Every tower of every precision, then (`judge_quality`) retrieval of those whose towers passed."""
        judged: dict[str, Judged] = {}
        passed: dict[str, tuple[AnyTower, AnyTower]] = {}
        for precision, towers in graphs.items():
            log.info("comparing %s of %s with PyTorch", precision, model.name)
            image, text = (self.judge_file(towers[tower], tower, precision) for tower in TOWERS)
            judged[precision] = Judged(image[0], text[0])
            if judged[precision].passed and image[1] is not None and text[1] is not None:
                passed[precision] = (image[1], text[1])
        if judge_quality and self.samples.recall is not None:
            for precision, found in compare_retrieval(self.encoder, passed, self.samples.recall).items():
                fault = found.fault(self.bounds)
                judged[precision] = replace(judged[precision], retrieval=found, fault=fault)
        return judged


def agrees_like(artifact: str, graph: GraphFile) -> str:
    """The precision by whose bound the batches of an artifact must agree; OpenVINO may choose bfloat16."""
    if graph.runtime != "openvino":
        return artifact
    precision = artifact.removeprefix(openvino_name(""))
    return "bf16" if graph.compute == "auto" and precision in AGREEMENT else precision
