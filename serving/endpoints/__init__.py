"""One file for each group of paths; every endpoint reads a request, asks the models and shapes the answer."""
