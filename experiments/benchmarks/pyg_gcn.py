"""PyG's `GCNConv` network as its users write it: dense features, dense dropout, torch's Adam."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.nn import GCNConv

from hypersst.datasets import GraphTask

__all__ = ["PygStep"]


class _Network(nn.Module):
    def __init__(self, in_channels: int, hidden_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = GCNConv(in_channels, hidden_channels, cached=True)
        self.conv2 = GCNConv(hidden_channels, out_channels, cached=True)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        x = F.dropout(x, 0.5, self.training)
        x = self.conv1(x, edge_index).relu()
        x = F.dropout(x, 0.5, self.training)
        return self.conv2(x, edge_index)


class PygStep:
    """One training step after another of Kipf and Welling's two layers, for node classification.

    Args:
        task: The graph; its features are made dense.
        hidden_channels: Dimensions of the hidden layer.

    Raises:
        ValueError: If the task is link prediction.
    """

    def __init__(self, task: GraphTask, hidden_channels: int = 16) -> None:
        if task.task != "nc":
            raise ValueError(f"`task` must be node classification ('nc'), got {task.task!r}.")
        self.task = task
        self.x = task.x if task.x.layout == torch.strided else task.x.to_dense()
        self.model = _Network(task.num_features, hidden_channels, task.num_classes).to(task.device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.01, weight_decay=5e-4)

    def step(self) -> Tensor:
        """Train for one epoch; returns the loss."""
        self.model.train()
        self.optimizer.zero_grad()
        out = self.model(self.x, self.task.edge_index)
        loss = F.cross_entropy(out[self.task.train], self.task.y[self.task.train])
        loss.backward()
        self.optimizer.step()
        return loss.detach()
