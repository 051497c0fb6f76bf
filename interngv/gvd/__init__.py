"""General Vision Data (GV-D): open data packs by name."""
