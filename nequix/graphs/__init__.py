"""Graphs of structures: neighbour lists, tiles of edges, results."""
