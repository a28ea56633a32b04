"""The precisions of an exported tower, each made out of its fp32 graph."""
