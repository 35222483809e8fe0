"""Models that know nothing of us become spectral, train, and become plain again."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from spectral_cases import build_optimizer
from torch import Tensor, nn
from torch_geometric.nn import GAT, GCN, GINEConv, GPSConv

import hypersst
from hypersst.lowrank import lora
from hypersst.spectral import SSTSampler, spectral_weights


def mlp():
    """In the manner of `torchvision.ops.MLP`."""
    return nn.Sequential(
        nn.Linear(12, 32), nn.LayerNorm(32), nn.ReLU(), nn.Dropout(0.0), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 4)
    )


class ResidualBlock(nn.Module):
    """In the manner of `torchvision.models.resnet.BasicBlock`, depthwise and grouped convolutions included."""

    def __init__(self, width):
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, groups=2)

    def forward(self, x):
        return x + self.conv2(F.relu(self.bn1(self.conv1(x))))


def conv_net():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2), ResidualBlock(8), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 4)
    )


class GPSNetwork(nn.Module):
    """PyG's example of a graph Transformer, with `nn.MultiheadAttention` inside."""

    def __init__(self):
        super().__init__()
        self.node = nn.Linear(12, 16)
        self.edge = nn.Linear(3, 16)
        self.convs = nn.ModuleList(
            GPSConv(16, GINEConv(nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 16))), heads=2, norm="layer")
            for _ in range(2)
        )
        self.out = nn.Linear(16, 4)

    def forward(self, x, edge_index, edge_attr):
        x, edge_attr = self.node(x), self.edge(edge_attr)
        for conv in self.convs:
            x = conv(x, edge_index, edge_attr=edge_attr)
        return self.out(x)


class Translator(nn.Module):
    """`torch.nn.Transformer` between two embeddings."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(11, 16)
        self.transformer = nn.Transformer(16, 2, 1, 1, 32, dropout=0.0, batch_first=True)
        self.head = nn.Linear(16, 4)

    def forward(self, source, target):
        return self.head(self.transformer(self.embedding(source), self.embedding(target))).mean(1)


def graph():
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 20, (2, 60), generator=generator)


def real(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def tokens(length):
    return torch.randint(0, 11, (20, length), generator=torch.Generator().manual_seed(length))


CASES = {
    "mlp": (mlp, lambda: (real(20, 12),), 3),
    "conv": (conv_net, lambda: (real(20, 3, 9, 9),), 4),
    "gcn": (lambda: GCN(12, 16, 2, 4), lambda: (real(20, 12), graph()), 2),
    # One linear map and two attention vectors (1, heads, channels) per layer; the latter are no matrices.
    "gat": (lambda: GAT(12, 16, 2, 4, heads=2), lambda: (real(20, 12), graph()), 2),
    "gps": (GPSNetwork, lambda: (real(20, 12), graph(), real(60, 3)), 15),
    # Encoder: in, out, two of the block. Decoder: two attentions and the block. The head is left out by its name.
    "transformer": (Translator, lambda: (tokens(5), tokens(6)), 10),
}


def build(name):
    make, inputs, count = CASES[name]
    torch.manual_seed(0)
    return make().double(), inputs(), count


def outputs(model, inputs, mode):
    model.train(mode)
    with torch.no_grad():
        return model(*inputs)


def fit(model, inputs, optimizer, steps):
    target = torch.arange(20) % 4
    losses = []
    model.train()
    for _ in range(steps):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(*inputs), target)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def same(a: Tensor, b: Tensor):
    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", CASES)
def test_a_foreign_model_keeps_its_outputs_trains_and_merges(name):
    model, inputs, count = build(name)
    plain_keys = list(model.state_dict())
    # Batch statistics are updated in training mode, so each state starts from a copy.
    before = {mode: outputs(copy.deepcopy(model), inputs, mode) for mode in (True, False)}
    report = hypersst.spectralize(model, rank=2)
    assert len(report.layers) == len(spectral_weights(model)) == count
    for mode, expected in before.items():
        same(outputs(copy.deepcopy(model), inputs, mode), expected)

    optimizer = build_optimizer("adamw", model)
    SSTSampler(model, optimizer, steps_per_iteration=4, warmup_steps=0)
    losses = fit(model, inputs, optimizer, 25)
    assert losses[-1] < 0.85 * losses[0]

    trained = outputs(model, inputs, False)
    hypersst.merge(model)
    assert not spectral_weights(model)
    assert sorted(model.state_dict()) == sorted(plain_keys)
    same(outputs(model, inputs, False), trained)
    assert all(type(p) is nn.Parameter and p.requires_grad for p in model.parameters())
    assert fit(model, inputs, torch.optim.SGD(model.parameters(), lr=0.1), 3)[-1] < losses[0]


@pytest.mark.parametrize("name", CASES)
def test_a_foreign_spectral_model_is_copied_and_restored(name):
    model, inputs, _ = build(name)
    hypersst.spectralize(model, rank=2)
    expected = outputs(model, inputs, False)
    twin = copy.deepcopy(model)
    same(outputs(twin, inputs, False), expected)
    hypersst.merge(twin)  # the copy becomes plain, the original stays spectral
    same(outputs(twin, inputs, False), expected)
    same(outputs(model, inputs, False), expected)

    torch.manual_seed(5)
    other = CASES[name][0]().double()
    hypersst.spectralize(other, rank=2)
    other.load_state_dict(model.state_dict())
    same(outputs(other, inputs, False), expected)


@pytest.mark.parametrize("name", CASES)
def test_a_foreign_model_trains_by_lora_and_merges(name):
    model, inputs, count = build(name)
    before = outputs(copy.deepcopy(model), inputs, False)
    assert len(lora(model, rank=2).layers) == count
    same(outputs(copy.deepcopy(model), inputs, False), before)
    twin = copy.deepcopy(model)
    losses = fit(model, inputs, torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2), 25)
    assert losses[-1] < 0.9 * losses[0]
    trained = outputs(model, inputs, False)
    hypersst.merge(model)
    same(outputs(model, inputs, False), trained)
    same(outputs(twin, inputs, False), before)
    twin.load_state_dict(twin.state_dict())
