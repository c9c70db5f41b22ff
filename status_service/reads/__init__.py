"""What can be asked of campaigns: reads that change nothing."""
