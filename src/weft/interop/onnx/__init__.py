"""ONNX files: graphs of ours, written and read back node by node (``rows.py``), and other tools' models (``foreign``).

Start reading at ``model_file.py``. ``import onnx`` means the library, which functions import when they are used.
"""
