"""Captions and references of five pictures."""

from __future__ import annotations

GENERATED = {
    "a": "a man riding a horse",
    "b": "Two dogs play in the grass there.",
    "c": "a blue kite, flying over the sea",
    "d": "A red, BIG bus!",
    "e": "a cat sleeps on a sofa",
}
REFERENCES = {
    "a": ["a man rides a horse", "a person on a horse on a beach"],
    "b": ["dogs playing in green grass", "the dogs play", "two brown dogs"],
    "c": ["someone's kite is in the air", "a kite (blue) high above the water", "kites"],
    "d": ["a large red bus on the road", "the bus is red"],
    "e": ["a cat sleeps on a sofa", "a sleeping cat"],
}
