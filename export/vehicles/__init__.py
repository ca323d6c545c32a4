"""Simulated vehicles that speak a real protocol: our physics on one side, real firmware or a real wire on the other."""
