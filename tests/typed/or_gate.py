"""Define by run, and the same step as one static graph: the README's program, and a loader of batches."""

from collections.abc import Iterator
from typing import assert_type

import weft as wf
from weft import nn, optim
from weft.nn import functional as F

x = wf.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
y = wf.tensor([[0.0], [1.0], [1.0]])
net = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1), nn.Sigmoid())
opt = optim.Adam(net.parameters(), lr=0.05)
assert_type(x, wf.Tensor)
assert_type(net(x), wf.Tensor)

loss = F.binary_cross_entropy(net(x), y)
for _ in range(5):
    loss = F.binary_cross_entropy(net(x), y)
    opt.zero_grad()
    loss.backward()
    opt.step()
    assert_type(loss, wf.Tensor)
    assert_type(loss.item(), float | int | bool)
print(net(wf.tensor([[1.0, 1.0]])), f"{loss.item():.3f}")
print(net[0].weight.grad.shape, net[0].weight.numpy())


def closure() -> wf.Tensor:
    opt.zero_grad()
    loss = F.binary_cross_entropy(net(x), y)
    loss.backward()
    return loss


assert_type(opt.step(closure), wf.Tensor)


def loader(batches: int) -> Iterator[tuple[wf.Tensor, wf.Tensor]]:
    for _ in range(batches):
        yield wf.random.normal((4, 2)), wf.random.integers(2, shape=(4,))


classifier = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2))
sgd = optim.SGD([{"params": classifier.parameters(), "lr": 0.1}], momentum=0.9)
schedule = optim.lr_scheduler.StepLR(sgd, step_size=2)


@wf.compile
def train_step(xb: wf.Tensor, yb: wf.Tensor) -> wf.Tensor:
    loss = F.cross_entropy(classifier(xb), yb)
    sgd.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(classifier.parameters(), 1.0)
    sgd.step()
    return loss


total: float = 0
xb, yb = next(loader(1))
for xb, yb in loader(3):
    loss = train_step(xb, yb)
    assert_type(loss, wf.Tensor)
    total += loss.item()
    schedule.step()
print(train_step.graph(xb, yb), train_step.explain(xb, yb), total)

with wf.no_grad():
    scores = classifier.eval()(xb)
    assert_type((scores.argmax(1) == yb).float().mean(), wf.Tensor)


@wf.no_grad()
def accuracy(scores: wf.Tensor, labels: wf.Tensor) -> float:
    return float((scores.argmax(dim=-1) == labels).float().mean())


assert_type(accuracy(scores, yb), float)
