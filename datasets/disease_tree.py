r"""A simulated epidemic on a random tree: the default job, needing neither network nor files.

The HGCN paper (Chami et al., 2019, "Disease" among its data sets) simulates the SIR model on a tree, with features that
hint at a node's susceptibility and the outcome, infected or not, as class. It gives no numbers and released no
generator. Its file ``disease_lp`` shows the following [measured]: inner nodes have 1 to 11 children, uniformly;
only children of infected nodes are infected, with odds that fall exponentially in the sum of ten independent
Gaussian features; an eleventh feature is the centre of the node's interval when :math:`[-1, 1]` is cut evenly among the
children of the root, each piece among the root's grandchildren, and so on. Our construction copies these facts:

1. **Tree.** Nodes are made in breadth-first order; each gets 1 to ``max_children`` children, uniformly, until there
   are ``num_nodes``.
2. **Features.** :math:`z_i \in \mathbb R^{d}` standard normal; susceptibility
   :math:`s_i = \sum_j z_{ij} / \sqrt d \sim N(0, 1)`. The place :math:`p_i \in [-1, 1]` as above.
   ``x`` holds :math:`(z_i, p_i)`.
3. **Epidemic.** The root is infectious, all others susceptible. In every step each infectious node infects each
   susceptible child with probability :math:`\beta_i = \sigma(\kappa (s_i + s_0))` of the child, and then recovers for
   good with probability :math:`\gamma`. The epidemic spreads away from the root only.
4. **Class.** 1 if the node was ever infected, else 0. So the infected nodes are a subtree that holds the root.
5. **Again.** Some epidemics die out at once, some reach nearly everyone; neither makes a task. If the
   infected share is outside ``infected``, all is drawn again, from the same generator.

A node's class depends on the features of *all* nodes between it and the root: what its own say is not enough.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hypersst.datasets.graph import Graph, undirected_pairs

__all__ = ["disease_tree", "random_tree", "spread", "tree_places"]

_ATTEMPTS = 100


def random_tree(num_nodes: int, max_children: int, generator: torch.Generator) -> Tensor:
    """Grow a tree breadth first with 1 to ``max_children`` children per inner node.

    Args:
        num_nodes: Number of nodes, at least 2.
        max_children: Most children of a node, at least 1.
        generator: Source of the draws.

    Returns:
        The parent of nodes 1, 2, ..., ascending, shape ``(num_nodes - 1,)``; node 0 is the root.
    """
    # With at least one child each, the first i nodes have made at least i others: nobody waits for a parent.
    children = torch.randint(1, max_children + 1, (num_nodes,), generator=generator)
    return torch.arange(num_nodes).repeat_interleave(children)[: num_nodes - 1]


def tree_places(parent: Tensor) -> Tensor:
    """Centres of the nodes' intervals: the root has [-1, 1], each node's is cut evenly among its children.

    Args:
        parent: Parents of nodes 1, 2, ..., ascending, shape ``(n - 1,)``.

    Returns:
        Shape ``(n,)``, in (-1, 1).
    """
    n = parent.numel() + 1
    parents = [0, *parent.tolist()]
    siblings = torch.bincount(parent, minlength=n).tolist()
    low, width, done = [-1.0] * n, [2.0] * n, [0] * n
    for node in range(1, n):
        above = parents[node]
        width[node] = width[above] / siblings[above]
        low[node] = low[above] + done[above] * width[node]
        done[above] += 1
    return torch.tensor(low, dtype=torch.float64) + torch.tensor(width, dtype=torch.float64) / 2


def spread(parent: Tensor, infection: Tensor, recovery: float, generator: torch.Generator) -> Tensor:
    """Run the SIR model down a tree, from an infectious root until nobody is infectious.

    Args:
        parent: Parents of nodes 1, 2, ..., shape ``(n - 1,)``.
        infection: Probability that a node is infected in one step by an infectious parent, shape ``(n,)``.
        recovery: Probability that an infectious node recovers in one step, in (0, 1].
        generator: Source of the draws.

    Returns:
        Who was ever infected, boolean of shape ``(n,)``.
    """
    infectious = torch.zeros(parent.numel() + 1, dtype=torch.bool)
    infectious[0] = True
    ever = infectious.clone()
    while infectious.any():
        caught = torch.rand(infection.shape, generator=generator, dtype=infection.dtype) < infection
        caught[1:] &= infectious[parent]
        caught &= ~ever
        recovered = torch.rand(infection.shape, generator=generator) < recovery
        infectious = (infectious & ~recovered) | caught
        ever |= caught
    return ever


def disease_tree(
    num_nodes: int = 1000,
    *,
    num_features: int = 10,
    max_children: int = 11,
    steepness: float = 10.0,
    offset: float = 0.7,
    recovery: float = 0.5,
    infected: tuple[float, float] = (0.2, 0.8),
    generator: torch.Generator,
) -> Graph:
    r"""Generate a tree with an epidemic on it; the module's text says how.

    Args:
        num_nodes: Number of nodes, at least 2.
        num_features: Number ``d`` of columns that make up the susceptibility, at least 1.
        max_children: Most children of a node, at least 1.
        steepness: :math:`\kappa`, how sharply susceptibility decides; positive.
        offset: :math:`s_0`, larger for larger outbreaks.
        recovery: :math:`\gamma`, in (0, 1].
        infected: Least and greatest share of infected nodes that is accepted.
        generator: Source of all draws; the same state gives the same graph.

    Returns:
        A graph with ``num_features + 1`` dense features and classes 0 and 1.

    Raises:
        ValueError: If an argument is out of its range, or 100 epidemics in a row miss ``infected``.

    Example:
        >>> graph = disease_tree(generator=torch.Generator().manual_seed(0))
        >>> graph.num_nodes, graph.pairs.size(1), tuple(graph.x.shape)
        (1000, 999, (1000, 11))
    """
    for name, value, low in (
        ("num_nodes", num_nodes, 2),
        ("num_features", num_features, 1),
        ("max_children", max_children, 1),
    ):
        if value < low:
            raise ValueError(f"`{name}` must be at least {low}, got {value}.")
    if not steepness > 0:
        raise ValueError(f"`steepness` must be positive, got {steepness}.")
    if not 0 < recovery <= 1:
        raise ValueError(f"`recovery` must be in (0, 1], got {recovery}.")
    if not 0 <= infected[0] < infected[1] <= 1:
        raise ValueError(f"`infected` must be two ascending shares in [0, 1], got {infected}.")
    for _ in range(_ATTEMPTS):
        parent = random_tree(num_nodes, max_children, generator)
        z = torch.randn(num_nodes, num_features, generator=generator, dtype=torch.float64)
        susceptibility = z.sum(dim=1) / num_features**0.5
        infection = torch.sigmoid(steepness * (susceptibility + offset))
        y = spread(parent, infection, recovery, generator).long()
        if infected[0] <= y.double().mean() <= infected[1]:
            break
    else:
        raise ValueError(
            f"`infected` must be reachable by an epidemic with `offset` {offset}: none of {_ATTEMPTS} epidemics "
            f"infected a share of the nodes in {infected}."
        )
    x = torch.cat((z, tree_places(parent)[:, None]), dim=1)
    edges = torch.stack((parent, torch.arange(1, num_nodes)))
    return Graph(
        name="disease-tree",
        x=x.float(),
        pairs=undirected_pairs(edges, num_nodes),
        y=y,
        fractions=(0.10, 0.60),
    )
