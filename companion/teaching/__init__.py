"""What the pages use beside the mathematics: claims, checks, figures, source listings."""
