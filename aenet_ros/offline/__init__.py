"""Files, folders, videos and bags in and out."""
