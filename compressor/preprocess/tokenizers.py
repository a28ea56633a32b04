"""Where tokenisers come from: trained on captions, CLIP's own, or a file of another project. Torch-free."""

from __future__ import annotations

import gzip
import importlib.util
import json
import string
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, Regex, models, normalizers, pre_tokenizers, processors, trainers

from compressor.errors import DataError, MissingDependencyError, MissingResourceError, ModelError
from compressor.files import read_json
from compressor.preprocess.spec import Clean, TextSpec
from compressor.preprocess.text import Tokenizer, clean_text, mend_surrogates, parse_pipeline

PAD, BOS, EOS = "[PAD]", "[BOS]", "[EOS]"
_ALL_SORTS = f"{string.printable} \U0010ffff"  # the last is a noncharacter, in no vocabulary
_CLIP_BOS, _CLIP_EOS = "<start_of_text>", "<end_of_text>"
_CLIP_VOCABULARY = 49_408
_CLIP_MERGES_FILE = "bpe_simple_vocab_16e6.txt.gz"
_SIGLIP_CLASSES = ("SiglipTokenizer", "SiglipTokenizerFast")
# CLIP matches this pattern without regard to case, after lower-casing: what is left of that is the long s.
_CLIP_WORDS = r"<[sſ]tart_of_text>|<end_of_text>|'[sſ]|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def train_bpe(
    captions: Iterable[str], vocab_size: int, context_length: int, lowercase: bool = True
) -> tuple[Tokenizer, TextSpec]:
    """A byte-level byte-pair encoding of the captions; the same captions give the same tokeniser.

    Ids 0, 1, 2 are `[PAD]`, `[BOS]`, `[EOS]`. They are no added tokens: a caption that spells `[EOS]` is five
    ordinary characters. The vocabulary is smaller than `vocab_size` where the captions have no more pairs.
    """
    clean: Clean = "lower" if lowercase else "none"
    pipeline = tokenizers.Tokenizer(models.BPE())
    pipeline.normalizer = normalizers.NFC()
    pipeline.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[PAD, BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    pipeline.train_from_iterator(
        (mend_surrogates(clean_text(caption, clean)) for caption in captions), trainer
    )
    content = json.loads(pipeline.to_str())
    content["added_tokens"] = []
    pipeline = parse_pipeline(json.dumps(content))
    pipeline.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A {EOS}", special_tokens=[(BOS, 1), (EOS, 2)]
    )
    return _fix_length(pipeline, context_length, pad_id=0, pad_token=PAD, clean=clean)


def clip_tokenizer(context_length: int = 77) -> tuple[Tokenizer, TextSpec]:
    """CLIP's byte-pair encoding (49,408 tokens) with ids equal to `open_clip.SimpleTokenizer`'s.

    The merges are read from the open_clip package, which is found without being imported. Characters that are
    new in Unicode may be split differently: this library and open_clip's `regex` carry tables of their own.

    Raises:
        MissingDependencyError: open_clip is not installed.
    """
    merges = _clip_merges()
    alphabet = list(_byte_alphabet())
    specials = [_CLIP_BOS, _CLIP_EOS]
    words = [*alphabet, *(letter + "</w>" for letter in alphabet), *(a + b for a, b in merges), *specials]
    vocabulary = {word: row for row, word in enumerate(words)}
    pipeline = tokenizers.Tokenizer(models.BPE(vocab=vocabulary, merges=merges, end_of_word_suffix="</w>"))
    pipeline.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in specials])
    pipeline.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_CLIP_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    pipeline.post_processor = processors.TemplateProcessing(
        single=f"{_CLIP_BOS} $A {_CLIP_EOS}",
        special_tokens=[(token, vocabulary[token]) for token in specials],
    )
    return _fix_length(pipeline, context_length, pad_id=0, pad_token=words[0], clean="clip")


def _clip_merges() -> list[tuple[str, str]]:
    package = importlib.util.find_spec("open_clip")
    if package is None or package.origin is None:
        raise MissingDependencyError(
            "CLIP's tokenizer needs the vocabulary in the open_clip package: pip install 'compressor[train]'"
        )
    path = Path(package.origin).parent / _CLIP_MERGES_FILE
    try:
        lines = gzip.decompress(path.read_bytes()).decode("utf-8").split("\n")
    except OSError as error:
        raise MissingResourceError(f"{path}: cannot be read; reinstall open_clip_torch") from error
    pairs = [line.split() for line in lines[1 : _CLIP_VOCABULARY - 2 * 256 - 2 + 1]]
    return [(first, second) for first, second in pairs]


def _byte_alphabet() -> Iterable[str]:
    """One printable character per byte, in CLIP's order: printable bytes first, the others from U+0100."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    yield from (chr(byte) for byte in printable)
    yield from (chr(256 + rank) for rank in range(256 - len(printable)))


def from_transformers_folder(path: Path | str, context_length: int) -> tuple[Tokenizer, TextSpec]:
    """The tokeniser of a transformers folder: `tokenizer.json`, and the pad token of its configuration.

    Raises:
        MissingResourceError: the folder or its `tokenizer.json` is missing.
        ModelError: it is not a tokeniser, or it has no pad token.
    """
    folder = Path(path)
    file = folder / "tokenizer.json"
    if not file.is_file():
        raise MissingResourceError(
            f"{file}: no such file; save the tokenizer there with transformers: "
            "AutoTokenizer.from_pretrained(folder).save_pretrained(folder)"
        )
    config: Any = {}
    for name in ("special_tokens_map.json", "tokenizer_config.json"):
        if (folder / name).is_file():
            try:
                content = read_json(folder / name)
            except DataError as error:
                raise ModelError(str(error)) from error
            config |= content if isinstance(content, dict) else {}
    return from_tokenizers_json(
        _read(file),
        context_length,
        pad_token=_token_text(config.get("pad_token")),
        clean="siglip" if config.get("tokenizer_class") in _SIGLIP_CLASSES else "none",
        where=str(file),
    )


def from_tokenizers_file(path: Path | str, context_length: int) -> tuple[Tokenizer, TextSpec]:
    """A `tokenizer.json` of the `tokenizers` library. Raises as `from_transformers_folder` does."""
    file = Path(path)
    if not file.is_file():
        raise MissingResourceError(f"{file}: the tokenizer file is missing")
    return from_tokenizers_json(_read(file), context_length, where=str(file))


def from_tokenizers_json(
    text: str,
    context_length: int,
    *,
    pad_token: str | None = None,
    clean: Clean = "none",
    where: str = "tokenizer",
) -> tuple[Tokenizer, TextSpec]:
    """A pipeline of the `tokenizers` library, padded on the right and truncated to `context_length`.

    `pad_token` is its spelling; without it the file's own, then `[PAD]`, `<pad>`, `<|endoftext|>` are tried.
    `where` starts the messages of errors.
    """
    try:
        pipeline = parse_pipeline(text)
    except ModelError as error:
        raise ModelError(f"{where}: {error}") from error
    own = pipeline.padding or {}
    candidates = [pad_token] if pad_token else [own.get("pad_token"), PAD, "<pad>", "<|endoftext|>"]
    for candidate in candidates:
        pad_id = pipeline.token_to_id(candidate) if candidate else None
        if pad_id is not None:
            _try_out(pipeline, where)
            return _fix_length(pipeline, context_length, pad_id=pad_id, pad_token=str(candidate), clean=clean)
    tried = ", ".join(str(candidate) for candidate in candidates if candidate)
    raise ModelError(f"{where}: the tokenizer has no pad token ({tried} looked for)")


def _try_out(pipeline: tokenizers.Tokenizer, where: str) -> None:
    """Raise `ModelError` for a vocabulary without the token for what it does not know: such a file parses."""
    try:
        pipeline.encode(_ALL_SORTS)
    except Exception as error:  # the library raises bare Exception
        raise ModelError(f"{where} cannot be read: {error}") from error


def _fix_length(
    pipeline: tokenizers.Tokenizer, context_length: int, *, pad_id: int, pad_token: str, clean: Clean
) -> tuple[Tokenizer, TextSpec]:
    pipeline.no_padding()
    pipeline.no_truncation()
    empty = pipeline.encode("").ids
    eos_id = empty[-1] if empty and pipeline.encode("a").ids[-1] == empty[-1] else None
    if context_length <= len(empty):
        raise ModelError(f"a context of {context_length} tokens has no room beside {len(empty)} special ones")
    pipeline.enable_truncation(max_length=context_length)
    pipeline.enable_padding(length=context_length, pad_id=pad_id, pad_token=pad_token)
    return Tokenizer(pipeline), TextSpec(
        context_length=context_length, clean=clean, pad_id=pad_id, eos_id=eos_id
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: the tokenizer file cannot be read: {error}") from error


def _token_text(token: Any) -> str | None:
    """A special token of a transformers configuration: a string, or a mapping with its `content`."""
    if isinstance(token, dict):
        token = token.get("content")
    return token if isinstance(token, str) and token else None
