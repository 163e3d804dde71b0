"""What methods find: kept, loaded, tabulated, shown."""
