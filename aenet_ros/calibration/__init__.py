"""Finding how the cameras stand to each other: from what both see, or from targets."""
