"""What goes with layers is in modules of its own, under PyTorch's names."""

from __future__ import annotations

import pickle

import pytest

import weft as wf


def test_names_are_imported_from_modules() -> None:
    import weft.nn.utils as utils
    from weft.nn.utils import clip_grad_norm_, rnn
    from weft.nn.utils.clip_grad import clip_grad_value_
    from weft.nn.utils.rnn import pack_padded_sequence

    assert utils is wf.nn.utils and rnn is utils.rnn and pack_padded_sequence is wf.nn.utils.rnn.pack_padded_sequence
    assert clip_grad_norm_ is utils.clip_grad_norm_ is wf.nn.clip_grad_norm_
    assert clip_grad_value_ is utils.clip_grad_value_
    assert dir(utils) == sorted(utils.__all__) and "clip_grads_with_norm_" in dir(utils)
    assert pickle.loads(pickle.dumps(pack_padded_sequence)) is pack_padded_sequence


def test_what_is_not_there_says_so() -> None:
    with pytest.raises(ImportError, match="not there yet"):
        from weft.nn.utils import prune  # noqa: F401
    with pytest.raises(AttributeError, match="did you mean 'pad_sequence'"):
        wf.nn.utils.rnn.pad_sequences  # noqa: B018
