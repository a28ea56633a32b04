"""`python -m compressor.runtime BUNDLE IMAGE TEXT...`: how well an image and texts match, without torch.

A bundle that captions is given the image alone and prints its caption; one that answers is given questions
and prints the answers.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from compressor.errors import BadImageError, CompressorError, DataError
from compressor.runtime.bundle import Bundle
from compressor.runtime.manifest import read_manifest
from compressor.runtime.writer import Writer
from compressor.runtime.writer_schema import WriterManifest


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code, with any error as one sentence on stderr."""
    options = _parser().parse_args(arguments)
    try:
        if isinstance(read_manifest(options.bundle), WriterManifest):
            output = _written(options)
        else:
            output = _compared(options)
    except CompressorError as error:
        sys.stderr.write(_shown(str(error), sys.stderr) + "\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130
    sys.stdout.write(_shown(output, sys.stdout) + "\n")
    return 0


def _compared(options: argparse.Namespace) -> str:
    bundle = Bundle.open(options.bundle, **_opening(options))
    if not options.text:
        raise DataError("this bundle compares pictures with texts; give a text after the image")
    image = _read(options.image)
    with _named(options.image):
        scores = compare(bundle, image, options.text)
    return json.dumps(scores, ensure_ascii=False) if options.json else as_table(scores)


def _written(options: argparse.Namespace) -> str:
    writer = Writer.open(options.bundle, **_opening(options))
    asked = list(options.text)
    if writer.asks and not asked:
        raise DataError("this bundle answers questions about pictures; give one after the image")
    if asked and not writer.asks:
        raise DataError("this bundle captions pictures; give it the image alone")
    image = _read(options.image)
    if not writer.asks:
        with _named(options.image):
            (caption,) = writer.caption([image])
        return json.dumps([{"caption": caption}], ensure_ascii=False) if options.json else caption
    with _named(options.image):
        answers = writer.answer([image] * len(asked), asked)
    told = [{"question": text, "answer": answer} for text, answer in zip(asked, answers, strict=True)]
    return json.dumps(told, ensure_ascii=False) if options.json else "\n".join(answers)


def compare(bundle: Bundle, image: bytes, texts: Sequence[str]) -> list[dict[str, Any]]:
    """Per text: `cosine`; `logit` = logit_scale * cosine + bias; among several texts also `probability`.

    The probability is the softmax of the logits over the texts, or, for a model trained with a sigmoid loss
    (it has a bias), each text's own sigmoid. One text alone has no softmax worth printing: it would always
    be 1.
    """
    cosines = (bundle.encode_images([image]) @ bundle.encode_texts(texts).T)[0].astype(np.float64)
    logits = bundle.logit_scale * cosines + (bundle.logit_bias or 0.0)
    scores = [
        {"text": text, "cosine": round(float(cosine), 6), "logit": round(float(logit), 4)}
        for text, cosine, logit in zip(texts, cosines, logits, strict=True)
    ]
    if bundle.logit_bias is not None or len(texts) > 1:
        probabilities = _softmax(logits) if bundle.logit_bias is None else 1 / (1 + np.exp(-logits))
        for score, probability in zip(scores, probabilities, strict=True):
            score["probability"] = round(float(probability), 6)
    return scores


def as_table(scores: Sequence[dict[str, Any]]) -> str:
    """The scores as aligned lines, in the order of the texts."""
    columns = [name for name in ("cosine", "logit", "probability") if name in scores[0]]
    lines = ["  ".join([*(f"{name:>11}" for name in columns), "text"])]
    lines += ["  ".join([*(f"{score[name]:>11.4f}" for name in columns), score["text"]]) for score in scores]
    return "\n".join(lines)


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    exponentials = np.exp(logits - logits.max())
    return exponentials / exponentials.sum()


def _shown(text: str, stream: TextIO) -> str:
    """What would steer the terminal is escaped, as names in a bundle may, and what it has no sign for."""
    printed = "".join(sign if sign.isprintable() or sign == "\n" else repr(sign)[1:-1] for sign in text)
    encoding = stream.encoding or "utf-8"
    return printed.encode(encoding, "backslashreplace").decode(encoding)


def _opening(options: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(options, name) for name in ("precision", "threads", "low_memory", "fast_decode")}


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}") from error


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """What cannot be decoded is called by its file: its place in a list is 0 always."""
    try:
        yield
    except BadImageError as error:
        raise BadImageError(f"{path}: {error.reason.removeprefix('image 0: ')}") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m compressor.runtime", description=__doc__)
    parser.add_argument("bundle", type=Path, help="the bundle's folder")
    parser.add_argument("image", type=Path, help="an image file")
    parser.add_argument("text", nargs="*", help="one text or more; a question of a bundle that answers")
    parser.add_argument("--precision", help="artifact to run; the bundle's default without it")
    parser.add_argument("--threads", type=int, help="threads of ONNX Runtime; all usable cores without it")
    parser.add_argument("--low-memory", action="store_true", help="give memory back after every call")
    parser.add_argument("--fast-decode", action="store_true", help="reduce large pictures coarsely first")
    parser.add_argument("--json", action="store_true", help="print a JSON list")
    return parser


if __name__ == "__main__":
    sys.exit(main())
