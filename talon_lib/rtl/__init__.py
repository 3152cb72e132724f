"""Our own RTL: SystemVerilog for a graph, its proof by Verilator, its counts by Yosys, its clock by nextpnr."""
