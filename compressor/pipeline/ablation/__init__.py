"""What a recipe is compared with, how its students are measured, and what is known of them.

`compressor.pipeline.ablate` and `compressor.pipeline.ablation_plan` work with it.
"""

from compressor.pipeline.ablation.comparison import BASE, CONTROL, Comparison

__all__ = ["BASE", "CONTROL", "Comparison"]
