"""The engines of a bundle: one for each tower, of every precision that TensorRT is asked for."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from pathlib import Path

from compressor.errors import MissingDependencyError, ModelError
from compressor.export.bundle_parts import GraphFile
from compressor.export.onnx import TowerName
from compressor.export.tensorrt import build_engine
from compressor.recipe.outcome import BatchSizes, TensorRTSection, engine_name
from compressor.runtime.engine import Batches
from compressor.runtime.nvidia import why_no_tensorrt
from compressor.runtime.schema import ENGINE_SUFFIX, IMAGE_INPUT, TEXT_INPUT

NOT_HERE = "not available on this machine"
_INPUTS: dict[TowerName, str] = {"image": IMAGE_INPUT, "text": TEXT_INPUT}

log = logging.getLogger(__name__)

Towers = dict[TowerName, GraphFile]


def make_engines(
    graphs: Mapping[str, Mapping[TowerName, GraphFile]],
    work: Path,
    section: TensorRTSection,
    timing_cache: Path | None = None,
) -> tuple[dict[str, Towers], dict[str, str]]:
    """Engines in the bundle folder `work`, by the name of the artifact; and why others could not be made.

    `graphs`: the ONNX files by precision. An engine that TensorRT cannot make is named with its reason, like
    any precision that cannot be made. Raises `MissingDependencyError` where it is this machine that lacks
    something (TensorRT, a driver, a GPU that TensorRT can use) and the section does not call engines
    optional.
    """
    reason = why_no_tensorrt()
    made: dict[str, Towers] = {}
    not_made: dict[str, str] = {}
    for precision in section.precisions:
        name = engine_name(precision)
        try:
            if reason is not None:
                raise MissingDependencyError(reason)
            if precision not in graphs:
                raise ModelError(f"there is no {precision} graph to build it from")
            made[name] = {
                tower: _engine(graph, tower, work / name / f"{tower}{ENGINE_SUFFIX}", section, timing_cache)
                for tower, graph in graphs[precision].items()
            }
        except (MissingDependencyError, ModelError) as error:
            if isinstance(error, MissingDependencyError) and not section.optional:
                raise MissingDependencyError(
                    f"TensorRT engines (export.tensorrt) cannot be built here: {error}"
                ) from error
            not_made[name] = _words(error, work)
            log.warning("%s cannot be made: %s", name, not_made[name])
            shutil.rmtree(work / name, ignore_errors=True)
    return made, not_made


def _words(error: MissingDependencyError | ModelError, work: Path) -> str:
    """Why an engine is missing: for want of a GPU, or because of its graph. `work` is a temporary folder."""
    told = str(error).replace(f"{work}/", "")
    return f"{NOT_HERE}: {told}" if isinstance(error, MissingDependencyError) else told


def _engine(
    graph: GraphFile, tower: TowerName, target: Path, section: TensorRTSection, timing_cache: Path | None
) -> GraphFile:
    sizes: BatchSizes = getattr(section.profiles, tower)
    workspace = None if section.workspace_gib is None else int(section.workspace_gib * 2**30)
    profiles = {_INPUTS[tower]: Batches(sizes.min, sizes.opt, sizes.max)}
    build_engine(graph.path, target, profiles, workspace_bytes=workspace, timing_cache=timing_cache)
    note = f"batches of {sizes.min} to {sizes.max}, fastest at {sizes.opt}"
    return GraphFile(target, None, note, runtime="tensorrt")
