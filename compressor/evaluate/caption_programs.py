"""The field's caption programs (pycocoevalcap's PTB tokeniser, METEOR and SPICE), driven with care.

The programs, their options and their answers are those of the package; its wrappers around them are not used.
Those let one line break inside a caption shift all later captions to other images, write into the installed
package, and wait for ever when a program has ended. SPICE's wrapper also downloads its parser when it is
constructed: here nothing is ever downloaded.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType

from compressor.evaluate.java import JavaConversation, NotAvailableError, find_java, run_java
from compressor.preprocess.text import mend_surrogates

START_SECONDS = 300.0
"""How long a program may take to start; SPICE and METEOR load large tables."""
SECONDS_PER_CAPTION = 0.25

References = Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Programs:
    """Where a Java runtime and the installed package are."""

    java: str
    package: Path

    def jar(self, name: str) -> Path:
        """A file of the package. Raises `NotAvailableError` where it is not there."""
        path = self.package / name
        if not path.is_file():
            raise NotAvailableError(f"the installed pycocoevalcap lacks {name}; install the package again")
        return path


def find_programs() -> Programs:
    """Raises `NotAvailableError` where pycocoevalcap or a Java runtime is missing."""
    module = import_scorer("tokenizer.ptbtokenizer")
    return Programs(find_java(), Path(str(module.__file__)).parent.parent)


def import_scorer(name: str) -> ModuleType:
    """A module of pycocoevalcap. Raises `NotAvailableError` where the package is not installed."""
    try:
        return import_module(f"pycocoevalcap.{name}")
    except ImportError as error:
        raise NotAvailableError("pycocoevalcap is not installed; pip install pycocoevalcap") from error


def tokenise(programs: Programs, captions: Sequence[str]) -> list[str]:
    """Captions as the field compares them: PTB tokens in lower case, parted by blanks, without punctuation.

    What a caption holds of line breaks and other white space becomes single blanks, so that a caption is a
    line whatever it contains. A caption without words becomes "".
    """
    dropped = frozenset(import_scorer("tokenizer.ptbtokenizer").PUNCTUATIONS)
    jar = programs.jar("tokenizer/stanford-corenlp-3.4.1.jar")
    arguments = ["-cp", str(jar), "edu.stanford.nlp.process.PTBTokenizer", "-preserveLines", "-lowerCase"]
    lines = [" ".join(mend_surrogates(caption).replace("\0", " ").split()) for caption in captions]
    seconds = _limit(len(lines))
    text = "".join(f"{line}\n" for line in lines)
    told = run_java(programs.java, arguments, jar.parent, "the PTB tokeniser", seconds, text).split("\n")
    if len(told) != len(lines) + 1 or told[-1]:
        raise NotAvailableError(f"the PTB tokeniser made {len(told) - 1} lines of {len(lines)} captions")
    return [" ".join(word for word in line.rstrip().split(" ") if word not in dropped) for line in told[:-1]]


def meteor(programs: Programs, generated: Sequence[str], references: References) -> tuple[float, list[float]]:
    """METEOR 1.5 of tokenised captions, 0 to 1: of the corpus and of each caption.

    The corpus figure is computed from the summed statistics of all captions; it is not the mean of theirs.
    """
    jar = programs.jar("meteor/meteor-1.5.jar")
    programs.jar("meteor/data/paraphrase-en.gz")
    arguments = ["-Xmx2G", "-jar", str(jar), "-", "-", "-stdio", "-l", "en", "-norm"]
    with JavaConversation(programs.java, arguments, jar.parent, "METEOR", _limit(len(generated))) as program:
        statistics = [
            program.ask(" ||| ".join(["SCORE", *map(_part, mine), _part(caption)]))
            for caption, mine in zip(generated, references, strict=True)
        ]
        first = program.ask(" ||| ".join(["EVAL", *statistics]))
        told = [first, *(program.hear() for _ in generated)]
    *captions, corpus = (_number(word, "METEOR") for word in told)
    return corpus, captions


def spice(programs: Programs, generated: Sequence[str], references: References) -> tuple[float, list[float]]:
    """SPICE (arXiv 1607.08822) of tokenised captions, 0 to 1: the mean F, and that of each caption.

    Runs without the cache of parses, which is a matter of speed alone.
    """
    jar = programs.jar("spice/spice-1.0.jar")
    for name in ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar"):
        if not (jar.parent / "lib" / name).is_file():
            raise NotAvailableError(
                f"SPICE needs Stanford CoreNLP 3.6.0, which is not part of pycocoevalcap: put {name} from "
                f"https://stanfordnlp.github.io/CoreNLP/history.html into {jar.parent / 'lib'}"
            )
    with tempfile.TemporaryDirectory() as folder:
        asked, answered = Path(folder, "captions.json"), Path(folder, "scores.json")
        captions = [
            {"image_id": number, "test": caption, "refs": list(mine)}
            for number, (caption, mine) in enumerate(zip(generated, references, strict=True))
        ]
        asked.write_text(json.dumps(captions), encoding="utf-8")
        arguments = ["-Xmx8G", "-jar", str(jar), str(asked), "-out", str(answered), "-subset", "-silent"]
        run_java(programs.java, arguments, jar.parent, "SPICE", 4 * _limit(len(generated)), "")
        try:
            told = {item["image_id"]: item["scores"]["All"]["f"] for item in json.loads(answered.read_text())}
            scores = [_number(told[number], "SPICE") for number in range(len(captions))]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise NotAvailableError(f"SPICE left no scores that can be read: {error!r}") from error
    return sum(scores) / len(scores), scores


def _limit(captions: int) -> float:
    return START_SECONDS + SECONDS_PER_CAPTION * captions


def _part(caption: str) -> str:
    """A caption as a part of a METEOR line, where ||| parts the captions."""
    return caption.replace("|||", " ")


def _number(told: object, what: str) -> float:
    try:
        number = float(str(told))
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise NotAvailableError(f"{what} answered {told!r}, which is no number")
    return number
