"""Physics: many worlds of one MuJoCo model behind one protocol."""
