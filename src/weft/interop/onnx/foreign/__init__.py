"""Other tools' models: each operator of the standard is a function whose signature is its contract (``call.py``)."""
