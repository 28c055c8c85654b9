"""Maps thermal pixels onto the rgb grid, and estimates that map."""
