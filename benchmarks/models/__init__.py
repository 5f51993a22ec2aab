"""The models of the model table, with the same weights and inputs for every peer.

``vision.py`` and ``language.py`` are written once for Weft and PyTorch (``framework.py`` gives the one that a process
has); ``functional.py`` says the same models over a PyTorch state dict for peers without modules (JAX, TensorFlow).
PyTorch draws the weights and writes them to a file, which the others read; a model's answers, or its losses over three
steps, must agree with PyTorch's before it is timed.
"""
