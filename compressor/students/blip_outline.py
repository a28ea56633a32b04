"""What a BLIP that writes costs, from its configuration alone."""

from __future__ import annotations

from dataclasses import dataclass

from transformers import BlipConfig

from compressor.recipe.blip import Head
from compressor.students.blip import halves, square_side


@dataclass(frozen=True)
class WritingCost:
    """Floating-point operations (2 per multiply-add) of one forward pass, forced on one text.

    `image_flops` of the ViT, `text_flops` of reading the question, where there is one, and of the decoder.
    """

    image_flops: int
    text_flops: int

    def row_flops(self, texts: int = 1) -> int:
        """One picture with so many texts, forward: it is encoded once for all of them."""
        return self.image_flops + texts * self.text_flops


def writing_cost(config: BlipConfig, head: Head, target: int, question: int = 0) -> WritingCost:
    """The matrix products of a forward pass over `target` tokens of text, and `question` tokens for VQA.

    Of a transformer layer of width w with T tokens: 8·T·w² for queries, keys, values and output, 4·T²·w for
    the map and its product with the values, 4·T·w·h for an MLP of h channels. Norms, activations and tables
    of embeddings are left out.
    """
    vision, text = halves(config)
    patch = vision.patch_size
    assert isinstance(patch, int)
    patches = (square_side(config) // patch) ** 2
    seen, wide = patches + 1, vision.hidden_size
    image = 2 * patches * 3 * patch**2 * wide
    image += vision.num_hidden_layers * _layer(seen, wide, vision.intermediate_size)

    def half(tokens: int, keys: int, key_width: int) -> int:
        """All layers of the BERT, over `tokens` that also look at `keys`."""
        width = text.hidden_size
        cross = 4 * tokens * width**2 + 4 * keys * key_width * width + 4 * tokens * keys * width
        return int(text.num_hidden_layers * (_layer(tokens, width, text.intermediate_size) + cross))

    if head == "vqa":
        words = half(question, seen, wide) + half(target, question, text.hidden_size)
    else:
        words = half(target, seen, wide)
    words += 2 * target * text.hidden_size * (text.hidden_size + text.vocab_size)
    return WritingCost(int(image), int(words))


def _layer(tokens: int, width: int, hidden: int) -> int:
    return 8 * tokens * width**2 + 4 * tokens**2 * width + 4 * tokens * width * hidden
