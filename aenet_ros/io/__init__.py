"""Pictures, videos and bags in; pictures, videos and bags out."""
