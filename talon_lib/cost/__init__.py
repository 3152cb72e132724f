"""What a network costs on hardware: operations, memory, energy, cycles. All analytic, and labelled so."""
