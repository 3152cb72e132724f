"""Graphs as hls4ml projects: lowering, C simulation, and the Vitis flow. The only package that imports hls4ml."""
