"""Recurrent layers: the output is padded or packed as the input is."""

from typing import assert_type

import weft as wf
from weft import nn

rnn = nn.utils.rnn

lstm, gru = nn.LSTM(3, 4), nn.GRU(3, 4, batch_first=True)
output, (h, c) = lstm(wf.zeros((5, 2, 3)))
assert_type(output, wf.Tensor)
assert_type(h, wf.Tensor)

packed = rnn.pack_sequence([wf.zeros((2, 3)), wf.zeros((1, 3))])
result, last = gru(packed)
assert_type(result.data, wf.Tensor)
assert_type(last, wf.Tensor)
padded, lengths = rnn.pad_packed_sequence(result)
assert_type(padded, wf.Tensor)
assert_type(lengths, wf.Tensor)
assert_type(nn.LSTMCell(3, 4)(wf.zeros((2, 3))), tuple[wf.Tensor, wf.Tensor])
assert_type(rnn.unpack_sequence(packed), list[wf.Tensor])
