"""Pickles hold arrays, matrices and graphs, and can do nothing else."""

import os
import pickle
import warnings
from collections import OrderedDict, defaultdict

import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp

from hypersst.datasets.pickles import loads
from hypersst.errors import DataError


@pytest.mark.parametrize("protocol", [2, 4])
def test_arrays_matrices_and_graphs_come_back(protocol):
    array = np.arange(6.0).reshape(2, 3)
    assert (loads(pickle.dumps(array, protocol), "a") == array).all()
    assert (loads(pickle.dumps(sp.csr_matrix(array), protocol), "m") != sp.csr_matrix(array)).nnz == 0
    lists = defaultdict(list, {0: [1], 1: [0]})
    assert loads(pickle.dumps(lists, protocol), "l") == lists
    graph = nx.path_graph(4)
    graph.nodes  # noqa: B018 - networkx stores its view in the instance, and then in the pickle
    assert nx.utils.graphs_equal(loads(pickle.dumps(graph, protocol), "g"), graph)


def test_names_of_old_numpy_and_scipy_are_mapped_without_a_warning():
    old = pickle.dumps(sp.csr_matrix(np.eye(2)), 2).replace(b"scipy.sparse._csr", b"scipy.sparse.csr")
    old = old.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert (loads(old, "m").toarray() == np.eye(2)).all()


class _Attack:
    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def test_a_pickle_that_would_run_code_is_refused_before_it_does(tmp_path):
    witness = tmp_path / "witness"
    with pytest.raises(DataError, match=r"Data file bad.p must be a pickle of arrays.* *mkdir is not allowed"):
        loads(pickle.dumps(_Attack(str(witness))), "bad.p")
    assert not witness.exists()


@pytest.mark.parametrize("content", [b"", b"no pickle", pickle.dumps([1])[:-1], pickle.dumps(OrderedDict())])
def test_anything_else_is_a_data_error_with_the_files_name(content):
    with pytest.raises(DataError, match=r"Data file some.p must be a pickle"):
        loads(content, "some.p")
