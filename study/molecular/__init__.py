"""Table 1: annotators who see PAS with or without immunofluorescence, simulated or a laboratory's own."""
