"""Gradients of functions over nestings of tensors, and compiled functions."""

from typing import assert_type

import weft as wf

Layer = dict[str, wf.Tensor]
Params = dict[str, list[Layer]]


def loss_fn(params: Params, x: wf.Tensor, y: wf.Tensor) -> wf.Tensor:
    for layer in params["layers"]:
        x = wf.tanh(x @ layer["weight"] + layer["bias"])
    return ((x - y) ** 2).mean()


params: Params = {"layers": [{"weight": wf.random.normal((2, 2)), "bias": wf.zeros((2,))} for _ in range(2)]}
x, y = wf.ones((3, 2)), wf.zeros((3, 2))

loss, grads = wf.value_and_grad(loss_fn)(params, x, y)
assert_type(loss, wf.Tensor)
assert_type(grads, Params)
assert_type(wf.grad(loss_fn)(params, x, y), Params)
of_two = wf.grad(loss_fn, argnums=(0, 1))(params, x, y)
print(of_two[1], wf.grad(lambda v: (v * v).sum())(x))


def with_scores(w: wf.Tensor, x: wf.Tensor) -> tuple[wf.Tensor, list[wf.Tensor]]:
    scores = x @ w
    return scores.sum(), [scores]


assert_type(wf.grad(with_scores, has_aux=True)(wf.ones((2,)), x), tuple[wf.Tensor, list[wf.Tensor]])


@wf.compile
def update(params: Params, grads: Params, rate: float = 0.1) -> Params:
    return {
        "layers": [
            {name: layer[name] - rate * gradient[name] for name in layer}
            for layer, gradient in zip(params["layers"], grads["layers"], strict=True)
        ]
    }


assert_type(update(params, grads, rate=0.5), Params)


class Model:
    def __init__(self) -> None:
        self.weight = wf.ones((2, 2))

    @wf.compile
    def predict(self, x: wf.Tensor, scale: int = 1) -> wf.Tensor:
        return x @ self.weight * scale


assert_type(Model().predict(x, scale=2), wf.Tensor)
