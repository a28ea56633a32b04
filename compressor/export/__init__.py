"""From a PyTorch dual encoder to a bundle: ONNX graphs, int8, the parity gate, the folder."""
