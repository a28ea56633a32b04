"""Attention maps out of a model: only the layers asked for materialise theirs, all others stay fused.

with AttentionCapture(tower(student, "image"), layers="last") as capture:
    student.encode_image(pixels)
    (attention,) = capture.take()
    attention.weights  # (B, H, Q, K)
"""

from compressor.capture.capture import AttentionCapture, AttentionMap, Layers, NoSuchLayerError
from compressor.capture.towers import Side, tower
from compressor.capture.watch import Which

__all__ = ["AttentionCapture", "AttentionMap", "Layers", "NoSuchLayerError", "Side", "Which", "tower"]
